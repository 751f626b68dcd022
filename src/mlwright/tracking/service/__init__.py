"""The verbs of experiment tracking. Every face calls these, with an open transaction and the caller.

Each verb checks the caller's role in the experiment's project, validates, changes, and drafts its event.
"""
