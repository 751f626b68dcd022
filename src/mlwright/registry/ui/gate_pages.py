"""Gates over many versions: what was answered, and what waits for people."""

from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import Route, caller_of, is_number
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.transaction import Tx
from mlwright.registry.service import approvals, gate_history, gates, models
from mlwright.registry.service.approvals import Waiting
from mlwright.registry.service.gate_history import OUTCOMES, Answer, Asked
from mlwright.registry.ui import address, model
from mlwright.registry.ui.model import ModelHead
from mlwright.registry.ui.standing import Summary, summary
from mlwright.web.live import stream
from mlwright.web.pages import Pages

_SIZE = 30


class AnswerRow(msgspec.Struct, frozen=True):
    """An answer and the address of its version."""

    answer: Answer
    url: str


class GateHistory(msgspec.Struct, frozen=True):
    """Answers as asked for. `head` is None when they are of all models; `base` is the page's own address."""

    head: ModelHead | None
    base: str
    asked: Asked
    projects: list[str]
    policies: list[str]
    rows: list[AnswerRow]
    next_url: str
    first_url: str
    outcomes: tuple[str, ...] = OUTCOMES


class WaitingRow(msgspec.Struct, frozen=True):
    """What waits, with addresses, and how it stands before the other gates."""

    waiting: Waiting
    url: str
    model: str
    others: Summary


class ApprovalsPage(msgspec.Struct, frozen=True):
    """What waits for the caller, or for anyone (`everyone`); `mine` counts the former."""

    everyone: bool
    mine: int
    total: int
    rows: list[WaitingRow]


class GatePages:
    """Handlers of /gates, /approvals, and the answers about one model.

    Args:
        database: where answers are kept.
        pages: renders.
    """

    def __init__(self, database: Database, pages: Pages) -> None:
        self._database = database
        self._pages = pages

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/gates", self.history),
            Route("GET", "/projects/{project}/models/{name}/gates", self.of_model),
            Route("GET", "/approvals", self.approvals),
            Route("GET", "/approvals/live", self.live),
        ]

    async def history(self, request: Request) -> Response:
        caller, given = caller_of(request), request.query_params
        asked = _asked(request, given.get("project", ""), given.get("model", "").strip())
        token = given.get("token", "")
        found = await self._database.read(lambda tx: _history(tx, caller, None, "/gates", asked, token))
        return await self._pages.respond(request, "registry/gates.html", found)

    async def of_model(self, request: Request) -> Response:
        caller, named, token = caller_of(request), request.path_params, request.query_params.get("token", "")
        asked = _asked(request, named["project"], named["name"])

        def load(tx: Tx) -> GateHistory:
            found = models.find(tx, caller, asked.model, Role.VIEWER, asked.project)
            head = model.head(caller, found, "gates")
            return _history(tx, caller, head, f"{head.base}/gates", asked, token)

        return await self._pages.respond(request, "registry/model_gates.html", await self._database.read(load))

    async def approvals(self, request: Request) -> Response:
        caller, everyone = caller_of(request), request.query_params.get("of") == "all"

        def load(tx: Tx) -> ApprovalsPage:
            found = approvals.waiting(tx, caller)
            mine = [each for each in found if each.mine]
            rows = [_waiting(each) for each in (found if everyone else mine)]
            return ApprovalsPage(everyone, len(mine), len(found), rows)

        return await self._pages.respond(request, "registry/approvals.html", await self._database.read(load))

    async def live(self, request: Request) -> Response:
        caller_of(request)
        return stream(self._database.changes, gates.TOPIC)


def _asked(request: Request, project: str, name: str) -> Asked:
    given = request.query_params
    version = given.get("version", "").strip()
    if version and not is_number(version):
        raise Invalid(f"version must be a whole number, not {version!r}", path="version")
    return Asked(project, name, int(version or 0), given.get("policy", "").strip(), given.get("outcome", ""))


def _history(tx: Tx, caller: Caller, head: ModelHead | None, base: str, asked: Asked, token: str) -> GateHistory:
    found = gate_history.page(tx, caller, asked, _SIZE, token)
    projects = models.projects(tx, caller)
    known = gates.all_policies(tx, asked.project)
    policies = {each.name for name in {*projects, asked.project} for each in known.get(name, [])}
    fixed = {"project", "model"} if head else set()
    pairs = [(name, str(value)) for name, value in msgspec.structs.asdict(asked).items() if value and name not in fixed]
    return GateHistory(
        head,
        base,
        asked,
        projects,
        sorted(policies | ({asked.policy} if asked.policy else set())),
        [AnswerRow(each, address.of_version(each.project, each.model, each.version)) for each in found.answers],
        f"{base}?{urlencode([*pairs, ('token', found.next_token)])}" if found.next_token else "",
        f"{base}?{urlencode(pairs)}" if token else "",
    )


def _waiting(each: Waiting) -> WaitingRow:
    version = each.version
    return WaitingRow(
        each,
        address.of_version(version.project, version.name, version.version),
        address.of_model(version.project, version.name),
        summary(each.others),
    )
