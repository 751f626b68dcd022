"""Worked examples that use a running platform the way a user would."""
