"""What people add for each other: comments on runs, and saved views of the runs table."""

from collections.abc import Mapping

import msgspec
from sqlalchemy import bindparam, delete, insert, select

from mlwright.kernel import checks
from mlwright.kernel.errors import Denied, Invalid, NotFound
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert
from mlwright.tracking import validation
from mlwright.tracking.service import experiments as experiment_service
from mlwright.tracking.service import runs as run_service
from mlwright.tracking.spec import Comment, SavedView
from mlwright.tracking.tables import comments, saved_views

MAX_COMMENT_LENGTH = 20_000

_comments_of = Query(
    select(comments.c.id, comments.c.author, comments.c.created_ms, comments.c.body)
    .where(comments.c.run == bindparam("run"))
    .order_by(comments.c.id)
)
_insert_comment = Query(
    insert(comments)
    .values({name: bindparam(name) for name in ("run", "author", "created_ms", "body")})
    .returning(comments.c.id)
)
_delete_comment = Query(delete(comments).where(comments.c.id == bindparam("id")))
_views_of = Query(
    select(saved_views.c.name, saved_views.c.author, saved_views.c.query)
    .where(saved_views.c.experiment_id == bindparam("experiment_id"))
    .order_by(saved_views.c.name)
)
_save_view = Query(
    upsert(saved_views)
    .values({name: bindparam(name) for name in ("experiment_id", "name", "author", "query")})
    .on_conflict_do_update(
        index_elements=["experiment_id", "name"],
        set_={name: upsert(saved_views).excluded[name] for name in ("author", "query")},
    )
)
_delete_view = Query(
    delete(saved_views).where(
        saved_views.c.experiment_id == bindparam("experiment_id"), saved_views.c.name == bindparam("name")
    )
)


def list_comments(tx: Tx, caller: Caller, run_id: str) -> list[Comment]:
    """The comments on a run, oldest first."""
    found = run_service.find(tx, caller, run_id)
    return [Comment(*row) for row in tx.all(_comments_of, {"run": found.info.row})]


def add_comment(tx: Tx, caller: Caller, run_id: str, body: str) -> Comment:
    """Leave a comment on a run. Viewers may: reading and talking is what they are for."""
    found = run_service.find(tx, caller, run_id)
    if not body.strip():
        raise Invalid("A comment needs some text.", path="body")
    checks.check_length("body", body, MAX_COMMENT_LENGTH)
    now = tx.now_ms()
    row = tx.one(_insert_comment, {"run": found.info.row, "author": caller.name, "created_ms": now, "body": body})
    comment = Comment(int(row[0]) if row else 0, caller.name, now, body)
    _emit(tx, caller, found.project, f"run/{run_id}", "comment.created", {"id": comment.id, "body": body})
    return comment


def delete_comment(tx: Tx, caller: Caller, run_id: str, comment_id: int) -> None:
    """Remove a comment: one's own, or any as admin of the project."""
    found = run_service.find(tx, caller, run_id)
    comment = next((each for each in list_comments(tx, caller, run_id) if each.id == comment_id), None)
    if comment is None:
        raise NotFound(f"Run {run_id} has no comment {comment_id}", path="comment_id")
    if comment.author != caller.name and not caller.may(found.project, Role.ADMIN):
        raise Denied("Only its author or an admin of the project may remove a comment")
    tx.run(_delete_comment, {"id": comment_id})
    _emit(tx, caller, found.project, f"run/{run_id}", "comment.deleted", {"before": {"body": comment.body}})


def list_views(tx: Tx, caller: Caller, experiment_id: int) -> list[SavedView]:
    """The saved views of an experiment, by name."""
    experiment_service.get(tx, caller, experiment_id)
    rows = tx.all(_views_of, {"experiment_id": experiment_id})
    return [SavedView(name, author, msgspec.json.decode(query)) for name, author, query in rows]


def save_view(tx: Tx, caller: Caller, experiment_id: int, name: str, query: Mapping[str, object]) -> None:
    """Save or replace a view."""
    experiment = experiment_service.require_active(tx, caller, experiment_id, Role.EDITOR)
    if not name.strip():
        raise Invalid("A view needs a name.", path="name")
    checks.check_length("name", name, validation.MAX_KEY_LENGTH)
    text = msgspec.json.encode(query).decode()
    tx.run(_save_view, {"experiment_id": experiment_id, "name": name, "author": caller.name, "query": text})
    subject = f"experiment/{experiment_id}"
    _emit(tx, caller, experiment.project, subject, "view.saved", {"name": name, "after": query})


def delete_view(tx: Tx, caller: Caller, experiment_id: int, name: str) -> None:
    """Remove a saved view. Raises NotFound."""
    experiment = experiment_service.require_active(tx, caller, experiment_id, Role.EDITOR)
    if not tx.run(_delete_view, {"experiment_id": experiment_id, "name": name}):
        raise NotFound(f"Experiment {experiment_id} has no saved view {name!r}", path="name")
    _emit(tx, caller, experiment.project, f"experiment/{experiment_id}", "view.deleted", {"name": name})


def _emit(tx: Tx, caller: Caller, project: str, subject: str, what: str, data: Mapping[str, object]) -> None:
    tx.topics.add(subject)
    tx.emit(Draft(caller.name, project, f"tracking.{what}", subject, data))
