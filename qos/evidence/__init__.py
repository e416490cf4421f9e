"""Evidence for detectors and strategies: production's signals, best-effort's pressure, the likelihood of each cause.

signals → noise, shifts → mechanisms, pressure, stalls → odds
"""
