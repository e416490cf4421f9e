"""Jobs, their instances and attempts: the state machine, all that is alive, and how it is shown.  Pure."""
