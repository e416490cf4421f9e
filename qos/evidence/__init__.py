"""What detectors and strategies weigh: how production fares, what best-effort presses on, and how likely each cause is.

signals → noise, shifts → mechanisms, pressure, stalls → odds
"""
