"""Stands in for http-parser, whose last release does not compile on Python 3.11+, where plain pymesos is run."""
