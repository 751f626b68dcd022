"""The one error the demo shows to its user."""

from __future__ import annotations


class DemoError(Exception):
    """Something the user can repair; `hint` says how. The demo prints both and exits with code 1."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
