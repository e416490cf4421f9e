"""The roll-out of estimators: one on every agent that has room for it, a small task on regular resources."""
