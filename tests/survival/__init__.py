"""Serenity as real processes on a real kernel, and made-up sequences of kills, cut lines and restarts.

A sequence (`sequence.py`) is drawn from a seed: a handful of jobs, and what happens to the daemons, the
executor, its guardian, the agent and the lines between them meanwhile.  It is played (`player.py`) on
a stack that several sequences share, and then, in quiet, judged (`judgement.py`) by what the tasks themselves have
left in files and locks (`tasks.py`), and by looking at the machine: no task lost, doubled or orphaned.

The ordinary suite plays a few, always the same; `make survive` plays 200 others, and `tests/fuzz` simulates
ten thousand where everything but the code of Serenity is made up.
"""
