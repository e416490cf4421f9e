"""The agent: state machine, executors, resource providers, checkpoint and recovery.  `process` gives it its I/O."""
