"""What the framework learns of the whole cluster from what its executors tell of their agents.  Pure: no I/O."""
