"""The command line of serving."""
