"""From frames to slack.  Pure: depends on the frames alone."""
