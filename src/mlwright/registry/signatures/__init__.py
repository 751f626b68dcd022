"""Signatures of versions, and the keys of a project."""
