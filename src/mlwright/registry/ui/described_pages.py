"""The model card of a version, and how it differs from another one."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid, MlwrightError, NotFound
from mlwright.kernel.http import Route, caller_of
from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.registry import markdown, search, validation
from mlwright.registry.described import Change, Difference
from mlwright.registry.service import card, differences, models, rows
from mlwright.registry.service.known import known
from mlwright.registry.ui import address, version
from mlwright.registry.ui.version import VersionHead
from mlwright.registry.ui.version_pages import named
from mlwright.web import formats
from mlwright.web.i18n import Words, language_of
from mlwright.web.pages import Pages

_LONGEST = 400
#: Changes of one aspect on a page.
_MOST = 500


class CardPage(msgspec.Struct, frozen=True):
    """`text` is the card in Markdown, in the language of the reader."""

    head: VersionHead
    text: str


class ChangeView(msgspec.Struct, frozen=True):
    """A change in words. `step` is how far a number moved."""

    name: str
    kind: str
    left: str
    right: str
    step: str = ""


class AspectView(msgspec.Struct, frozen=True):
    """One side of two versions: the first changes of `differ`. `unknown` says of which nothing is known."""

    name: str
    equal: int
    differ: int
    changes: list[ChangeView]
    unknown: list[str]


class ComparePage(msgspec.Struct, frozen=True):
    """How the version differs from another one, the left side; what was asked for is kept for the form.

    `error` says why there is nothing to compare with.
    """

    head: VersionHead
    project: str
    model: str
    number: int
    others: list[int]
    left_url: str
    identical: bool | None
    aspects: list[AspectView]
    error: dict[str, str] | None


class DescribedPages:
    """Handlers of cards and comparisons.

    Args:
        database: where versions are kept.
        pages: renders.
    """

    def __init__(self, database: Database, pages: Pages) -> None:
        self._database = database
        self._pages = pages

    def routes(self) -> list[Route]:
        base = "/projects/{project}/models/{name}/versions/{version}"
        return [
            Route("GET", f"{base}/card", self.card),
            Route("GET", f"{base}/card.md", self.card_file),
            Route("GET", f"{base}/compare", self.compare),
        ]

    async def card(self, request: Request) -> Response:
        (project, name, number), caller, words = named(request), caller_of(request), Words(language_of(request))

        def load(tx: Tx) -> CardPage:
            head = version.head(tx, caller, name, number, project, "card")
            found = known(tx, caller, name, number, project)
            made = card.of(found)
            told = [words(each.text, **each.values) for each in card.limits(made, found)]
            return CardPage(head, markdown.card(msgspec.structs.replace(made, limits=told), words))

        return await self._pages.respond(request, "registry/version_card.html", await self._database.read(load))

    async def card_file(self, request: Request) -> Response:
        """The card as a Markdown file."""
        (project, name, number), caller = named(request), caller_of(request)
        found = await self._database.read(lambda tx: card.card(tx, caller, name, number, project))
        headers = {
            "content-disposition": f'attachment; filename="card-{number}.md"',
            "x-content-type-options": "nosniff",
        }
        return Response(markdown.card(found), headers=headers, media_type="text/markdown; charset=utf-8")

    async def compare(self, request: Request) -> Response:
        (project, name, number), caller, given = named(request), caller_of(request), request.query_params
        other = given.get("model", "").strip() or name, given.get("project", "").strip() or project
        wanted = given.get("with", "").strip()
        found = await self._database.read(lambda tx: _compare(tx, caller, (name, number, project), other, wanted))
        status = 404 if found.error and wanted else 200
        return await self._pages.respond(request, "registry/version_compare.html", found, status)


def _compare(tx: Tx, caller: Caller, right: tuple[str, int, str], other: tuple[str, str], wanted: str) -> ComparePage:
    head = version.head(tx, caller, *right, "compare")
    model, project = other
    error, difference, others, number = None, None, [], 0
    try:
        others = _numbers(tx, caller, model, project)
        number = validation.parse_version(wanted) if wanted else _beside(head, others)
        if number:
            difference = differences.between(tx, caller, (model, number, project), right)
        elif wanted:
            raise NotFound(f"{wanted!r} is not the number of a version", path="with")
    except (NotFound, Invalid) as problem:
        error = _shown(problem)
    return ComparePage(
        head,
        project,
        model,
        number,
        others,
        address.of_version(project, model, number),
        difference.identical if difference else None,
        _aspects(difference) if difference else [],
        error,
    )


def _shown(problem: MlwrightError) -> dict[str, str]:
    return {"message": problem.message, "hint": problem.hint, "path": problem.path}


def _numbers(tx: Tx, caller: Caller, model: str, project: str) -> list[int]:
    """The newest versions of a model, to choose from."""
    row = models.get(tx, caller, model, project).row
    return [each.version for each in rows.versions(tx, search.versions_of(tx, row, 50).rows)]


def _beside(head: VersionHead, others: list[int]) -> int:
    """What a reader most likely wants to compare with: the champion, or the version before; 0 for neither."""
    known = {each.alias: each.version for each in head.known_aliases}
    champion = known.get("champion", head.version.version)
    if champion != head.version.version:
        return champion
    return next((number for number in others if number < head.version.version), 0)


def _aspects(difference: Difference) -> list[AspectView]:
    return [
        AspectView(
            each.name, each.equal, len(each.changes), [_change(change) for change in each.changes[:_MOST]], each.unknown
        )
        for each in difference.aspects
    ]


def _change(change: Change) -> ChangeView:
    step = ""
    if isinstance(change.left, float | int) and isinstance(change.right, float | int):
        moved = change.right - change.left
        step = f"{'+' if moved > 0 else '−'}{formats.number(abs(moved))}"
    return ChangeView(change.name, change.kind.value, _text(change.left), _text(change.right), step)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return formats.number(value)
    return formats.short(value if isinstance(value, str) else msgspec.json.encode(value).decode(), _LONGEST)
