"""What the control plane asks of the serving host of its machine."""

from typing import Any, Protocol

from mlwright.serving.host.state import Desired, Served


class Host(Protocol):
    """All calls block, and raise Unavailable where it does not answer."""

    @property
    def is_running(self) -> bool:
        """Whether there is one, or somebody who sees to it."""
        ...

    def start(self) -> None:
        """Start it, unless it runs."""
        ...

    def serve(self, desired: Desired) -> dict[str, Any]:
        """Have it serve this; its counts, once all of it is loaded or cannot be."""
        ...

    def counts(self) -> dict[str, Any]:
        """What it has counted."""
        ...

    def last(self) -> dict[str, Served]:
        """What it was last told to serve, by name."""
        ...

    def replace(self) -> None:
        """Start a new one beside it, of this release, which then takes its place. No request fails."""
        ...

    def stop(self) -> object:
        """Answer what was asked, and end."""
        ...
