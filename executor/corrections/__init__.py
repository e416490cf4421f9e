"""How a task is corrected: actuators, what they have changed on the machine, and how it is undone."""
