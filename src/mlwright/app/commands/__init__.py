"""Commands about the server itself. Each slice brings its own in its cli.py."""
