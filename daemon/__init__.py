"""What every process of ours needs: clock, configuration, exit codes, log format, metrics, signals, HTTP serving."""
