"""What happens when a closed gate refuses a change: a page with the reason, and a way for administrators."""

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import GateClosed
from mlwright.kernel.http import caller_of
from mlwright.kernel.identity import Role
from mlwright.kernel.transaction import Tx
from mlwright.registry.gates.spec import Standing
from mlwright.registry.service import gated, gates, versions
from mlwright.registry.spec import ModelVersion, Stage
from mlwright.registry.ui import address
from mlwright.registry.ui.standing import word
from mlwright.web.forms import see_other
from mlwright.web.pages import Pages


class ClosedGate(msgspec.Struct, frozen=True):
    """A gate that is not open."""

    standing: Standing
    state: str


class Refused(msgspec.Struct, frozen=True):
    """What the page shows: what was refused, and which gates are closed. One of `alias` and `stage` is empty."""

    message: str
    version: ModelVersion
    model: str
    base: str
    alias: str
    stage: str
    expected: str
    back: str
    closed: list[ClosedGate]
    may_override: bool


class Refusals:
    """Args:
    database: where versions are kept.
    pages: renders.
    """

    def __init__(self, database: Database, pages: Pages) -> None:
        self._database = database
        self._pages = pages

    async def unless(
        self,
        request: Request,
        work: Callable[[Tx], Any],
        number: int,
        *,
        back: str,
        alias: str = "",
        stage: Stage | None = None,
        expected: str = "",
    ) -> Response:
        """Do `work` and go to `back`, or show why a gate refused it for version `number` of the request's model."""
        caller, named = caller_of(request), request.path_params
        try:
            await gated.attempt(self._database, caller, work)
        except GateClosed as error:
            message = error.message
        else:
            return see_other(back)

        def load(tx: Tx) -> Refused:
            version = versions.get(tx, caller, named["name"], number, named["project"])
            closed = [ClosedGate(each, word(each)) for each in gates.closed(tx, version, alias, stage)]
            return Refused(
                message,
                version,
                address.of_model(version.project, version.name),
                address.of_version(version.project, version.name, version.version),
                alias,
                stage.value if stage else "",
                expected,
                back,
                closed,
                alias != "" and caller.may(version.project, Role.ADMIN),
            )

        return await self._pages.respond(request, "registry/refused.html", await self._database.read(load), 409)
