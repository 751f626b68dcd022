"""The REST operations of the registry."""
