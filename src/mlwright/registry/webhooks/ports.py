"""What webhooks need from others, wired in `app`."""

from typing import Protocol


class Sealer(Protocol):
    """Keeps secrets so that the database alone does not give them away."""

    def seal(self, text: str) -> str:
        """The text in sealed form. Raises Invalid where no key is set up."""
        ...

    def open(self, sealed: str) -> str:
        """The text. Raises Unavailable when the key is another one."""
        ...
