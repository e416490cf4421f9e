"""What every process of ours needs: clock, settings, exit codes, locks, files, log, metrics, signals, HTTP serving."""
