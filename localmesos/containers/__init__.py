"""Containers of the agent: processes started, measured, limited and ended.  Knows nothing of Mesos' messages."""
