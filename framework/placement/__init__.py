"""Which pending instance goes onto which agent, and what keeps it off.  Pure."""
