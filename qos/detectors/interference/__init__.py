"""The detector that weighs interference against all innocent explanations.

`detector` is the stage, whose docstring has the formula.  At each frame `histories` learns, `onsets` finds which
containers begin to suffer, and `watch` follows each such contention to its end.
"""
