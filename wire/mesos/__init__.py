"""Mesos: its drivers on pymesos, where its leader is, what it says of itself, its resources and quantities."""
