"""The pages of one run: overview, charts, artifacts, code and environment, and what one does to a run."""

from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import Route, caller_of, is_number, json_response
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import notes, runs
from mlwright.tracking.spec import Tag
from mlwright.tracking.ui import details
from mlwright.tracking.ui.ports import Registered
from mlwright.web import markdown
from mlwright.web.forms import read_form, see_other
from mlwright.web.live import stream
from mlwright.web.pages import Pages

NOTE_TAG = "mlflow.note.content"


class RunPages:
    """Handlers below /runs/{id}, but for its files.

    Args:
        database: where runs are kept.
        pages: renders.
        registered: what was registered from runs.
    """

    def __init__(self, database: Database, pages: Pages, registered: Registered) -> None:
        self._registered = registered
        self._database = database
        self._pages = pages

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/runs/{id}", self.overview),
            Route("GET", "/runs/{id}/charts", self.charts),
            Route("GET", "/runs/{id}/system", self.system),
            Route("GET", "/runs/{id}/live", self.live),
            Route("POST", "/runs/{id}/rename", self.rename),
            Route("POST", "/runs/{id}/note", self.write_note),
            Route("POST", "/runs/{id}/preview", self.preview),
            Route("POST", "/runs/{id}/comments", self.comment),
            Route("POST", "/runs/{id}/comments/delete", self.delete_comment),
            Route("POST", "/runs/{id}/tags", self.set_tag),
            Route("POST", "/runs/{id}/tags/delete", self.delete_tag),
            Route("POST", "/runs/{id}/delete", self.delete),
            Route("POST", "/runs/{id}/restore", self.restore),
        ]

    async def overview(self, request: Request) -> Response:
        run_id, caller, now = request.path_params["id"], caller_of(request), self._database.clock.now_ms()
        everything = request.query_params.get("all") == "1"
        found = await self._database.read(
            lambda tx: details.overview(tx, caller, self._registered, run_id, now, everything=everything)
        )
        return await self._pages.respond(request, "tracking/run.html", found)

    async def charts(self, request: Request) -> Response:
        return await self._charts(request, system=False)

    async def system(self, request: Request) -> Response:
        return await self._charts(request, system=True)

    async def _charts(self, request: Request, *, system: bool) -> Response:
        run_id, caller, now = request.path_params["id"], caller_of(request), self._database.clock.now_ms()
        find = request.query_params.get("find", "").strip()
        found = await self._database.read(lambda tx: details.charts(tx, caller, run_id, now, system=system, find=find))
        return await self._pages.respond(request, "tracking/charts.html", found)

    async def live(self, request: Request) -> Response:
        run_id, caller = request.path_params["id"], caller_of(request)
        await self._database.read(lambda tx: runs.find(tx, caller, run_id))
        return stream(self._database.changes, f"run/{run_id}")

    # --- changes -----------------------------------------------------------------------------------------------

    async def rename(self, request: Request) -> Response:
        form = await read_form(request)
        run_id, caller, name = request.path_params["id"], caller_of(request), form.get("name", "").strip()
        if not name:
            raise Invalid("A run needs a name.", path="name")
        await self._database.write(lambda tx: runs.update_info(tx, caller, run_id, name=name))
        return see_other(f"/runs/{run_id}")

    async def write_note(self, request: Request) -> Response:
        form = await read_form(request)
        run_id, caller, text = request.path_params["id"], caller_of(request), form.get("note", "")
        note = Tag(NOTE_TAG, text.replace("\r\n", "\n"))
        await self._database.write(lambda tx: runs.set_tags(tx, caller, run_id, [note]))
        return see_other(f"/runs/{run_id}")

    async def preview(self, request: Request) -> Response:
        """The HTML of a Markdown text: {"html"}."""
        form = await read_form(request)
        return json_response({"html": str(markdown.render(form.get("note", "")))})

    async def comment(self, request: Request) -> Response:
        form = await read_form(request)
        run_id, caller, body = request.path_params["id"], caller_of(request), form.get("body", "")
        await self._database.write(lambda tx: notes.add_comment(tx, caller, run_id, body.replace("\r\n", "\n")))
        return see_other(f"/runs/{run_id}#comments")

    async def delete_comment(self, request: Request) -> Response:
        form = await read_form(request)
        run_id, caller, number = request.path_params["id"], caller_of(request), form.get("comment", "")
        if not is_number(number):
            raise Invalid(f"{number!r} is not the number of a comment", path="comment")
        await self._database.write(lambda tx: notes.delete_comment(tx, caller, run_id, int(number)))
        return see_other(f"/runs/{run_id}#comments")

    async def set_tag(self, request: Request) -> Response:
        form = await read_form(request)
        run_id, caller = request.path_params["id"], caller_of(request)
        tag = Tag(form.get("key", "").strip(), form.get("value", ""))
        await self._database.write(lambda tx: runs.set_tags(tx, caller, run_id, [tag]))
        return see_other(f"/runs/{run_id}#tags")

    async def delete_tag(self, request: Request) -> Response:
        form = await read_form(request)
        run_id, caller, key = request.path_params["id"], caller_of(request), form.get("key", "")
        await self._database.write(lambda tx: runs.delete_tag(tx, caller, run_id, key))
        return see_other(f"/runs/{run_id}#tags")

    async def delete(self, request: Request) -> Response:
        run_id, caller = request.path_params["id"], caller_of(request)

        def change(tx: Tx) -> int:
            runs.delete_run(tx, caller, run_id)
            return runs.find(tx, caller, run_id).info.experiment_id

        return see_other(f"/experiments/{await self._database.write(change)}")

    async def restore(self, request: Request) -> Response:
        run_id, caller = request.path_params["id"], caller_of(request)
        await self._database.write(lambda tx: runs.restore(tx, caller, run_id))
        return see_other(f"/runs/{run_id}")
