"""Changes that gates may refuse: what has not run yet runs then, so that the same change can be made soon."""

from collections.abc import Callable
from typing import TypeVar

from mlwright.kernel.database import Database
from mlwright.kernel.errors import GateClosed
from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.registry.service import gates
from mlwright.registry.service.gates import ClosedError

T = TypeVar("T")


async def attempt(database: Database, caller: Caller, work: Callable[[Tx], T], *, brief: bool = False) -> T:
    """Do `work`, which moves an alias or a stage. Raises GateClosed, with how many gates run now."""
    try:
        return await database.write(work, brief=brief)
    except ClosedError as error:
        closed = error
    count = await database.write(lambda tx: gates.request(tx, caller, closed.version))
    if not count:
        raise closed
    runs = "1 gate runs" if count == 1 else f"{count} gates run"
    raise GateClosed(closed.message, path=closed.path, hint=f"{runs} now: try again afterwards; {closed.hint}")
