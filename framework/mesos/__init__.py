"""What Mesos says, and what it is asked for."""
