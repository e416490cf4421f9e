"""Best-effort computing on the slack of Apache Mesos clusters."""

__version__ = "0.1.0"
