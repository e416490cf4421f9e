"""The framework's HTTP API: the table of its routes, who may ask what, and the document that describes it."""
