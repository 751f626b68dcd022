"""What tracking's pages need of the registry; implemented and wired in `app`, because tracking stays below it."""

from typing import Protocol

import msgspec

from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx


class RegisteredVersion(msgspec.Struct, frozen=True):
    """A version that was registered from a run. `model_id` is the logged model behind it, empty when unknown."""

    name: str
    version: int
    url: str
    model_id: str
    stage: str
    aliases: list[str]


class Registered(Protocol):
    """Versions of registered models."""

    def of_run(self, tx: Tx, caller: Caller, run_id: str) -> list[RegisteredVersion]:
        """Those registered from a run that the caller may see, the newest first; at most a hundred."""
        ...
