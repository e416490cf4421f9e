"""The estimator as the agent sees it: a resource provider with an id."""
