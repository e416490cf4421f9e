"""What every long-running process needs: clock, configuration, log format, metrics, signals, HTTP serving."""
