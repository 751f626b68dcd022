"""mlwright: a complete machine-learning platform that starts with one command."""

__version__ = "0.1.0"
