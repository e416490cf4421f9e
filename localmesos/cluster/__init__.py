"""A Mesos to run things on, embedded or real, as processes of a test or a demo."""
