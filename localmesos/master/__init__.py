"""The master: state machine, what it refuses and offers, and its read endpoints.  `process` gives it its I/O."""
