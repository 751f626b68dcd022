"""Text of users in our Markdown."""

import re


def plain(text: str) -> str:
    """One line that nobody takes for Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&!])", r"\\\1", " ".join(text.split()))
