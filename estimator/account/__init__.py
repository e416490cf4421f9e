"""From slack to what the agent is told: who holds it, who holds it back, and how fast it may grow."""
