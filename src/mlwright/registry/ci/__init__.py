"""Continuous integration: train, register, gate and promote in one command, and workflows that call it."""
