"""What is kept of the past, in memory and across restarts."""
