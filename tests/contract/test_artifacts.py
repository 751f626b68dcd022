"""Names for blobs on both databases: files, folders, multipart uploads, and who may."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlwright.artifacts import service
from mlwright.artifacts.spec import ArtifactFile, FileInfo, Part
from mlwright.kernel import events
from mlwright.kernel.blobs import Blob, blob_of
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Denied, Invalid, NotFound
from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.security import projects
from mlwright.tracking.service import experiments
from mlwright.tracking.service.owners import TrackingOwners
from tests.contract.conftest import PROJECT

OWNERS = TrackingOwners()


def blob(number: int) -> Blob:
    return Blob(f"sha256:{number:064x}", number)


class Artifacts:
    """The verbs, each in a transaction of its own, as one caller."""

    def __init__(self, database: Database, caller: Caller = LOCAL) -> None:
        self.database, self.caller = database, caller

    def __call__(self, verb: Callable[..., Any], *arguments: Any) -> Any:
        return self.database.write_now(lambda tx: verb(tx, self.caller, OWNERS, *arguments))

    def put(self, path: str, number: int = 1) -> ArtifactFile:
        found: ArtifactFile = self(service.put, path, blob(number))
        return found

    def get(self, path: str) -> ArtifactFile:
        return self.database.read_now(lambda tx: service.get(tx, self.caller, path))

    def entries(self, path: str) -> list[tuple[str, bool, int | None]]:
        found: list[FileInfo] = self(service.entries, path)
        return [(each.path, each.is_dir, each.size) for each in found]

    def clear(self) -> None:
        self.database.write_now(lambda tx: service.purge(tx, "0"))


@pytest.fixture
def artifacts(database: Database) -> Artifacts:
    return Artifacts(database)


def test_a_file_is_put_found_and_replaced(artifacts: Artifacts) -> None:
    first = artifacts.put("0/run/artifacts/a.txt", 1)
    assert first == artifacts.get("0/run/artifacts/a.txt")
    assert (first.project, first.digest, first.size) == ("default", blob(1).digest, 1)
    artifacts.put("0/run/artifacts/a.txt", 2)
    assert artifacts.get("0/run/artifacts/a.txt").size == 2
    assert artifacts.entries("0/run/artifacts") == [("0/run/artifacts/a.txt", False, 2)]


def test_folders_exist_by_what_is_in_them(artifacts: Artifacts) -> None:
    for path in ("0/r/b/x", "0/r/b/y/z", "0/r/a", "0/r/b.txt", "0/r/b-c", "0/r/é 日/k", "0/r/b0"):
        artifacts.put(path)
    assert artifacts.entries("0/r") == [
        ("0/r/a", False, 1), ("0/r/b", True, None), ("0/r/b-c", False, 1), ("0/r/b.txt", False, 1),
        ("0/r/b0", False, 1), ("0/r/é 日", True, None),
    ]  # fmt: skip
    assert artifacts.entries("0/r/b") == [("0/r/b/x", False, 1), ("0/r/b/y", True, None)]
    assert artifacts.entries("0") == [("0/r", True, None)]
    assert artifacts.entries("") == [("0", True, None)]
    assert artifacts.entries("0/none") == []
    assert artifacts.entries("0/r/a") == []


_paths = st.lists(st.sampled_from(["a", "b", "a-", "a.", "a0", "é"]), min_size=1, max_size=3).map("/".join)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_paths, min_size=1, max_size=8), _paths)
def test_any_tree_lists_as_a_file_system_would(artifacts: Artifacts, paths: list[str], folder: str) -> None:
    artifacts.clear()
    stored: set[str] = set()
    for path in paths:
        above = {path[:end] for end, letter in enumerate(path) if letter == "/"}
        clash = bool(above & stored) or any(each.startswith(f"{path}/") for each in stored)
        if clash:
            with pytest.raises(Invalid):
                artifacts.put(f"0/{path}")
        else:
            artifacts.put(f"0/{path}")
            stored.add(path)
    for where in (folder, folder.partition("/")[0], ""):
        prefix = f"{where}/" if where else ""
        inside = {each.removeprefix(prefix).partition("/") for each in stored if each.startswith(prefix)}
        expected = {(f"0/{prefix}{name}", bool(separator)) for name, separator, _ in inside}
        listed = [each[:2] for each in artifacts.entries(f"0/{where}".rstrip("/"))]
        assert len(listed) == len(set(listed))
        assert set(listed) == expected


def test_a_name_is_a_file_or_a_folder(artifacts: Artifacts) -> None:
    artifacts.put("0/a/b")
    for path in ("0/a", "0/a/b/c", "0/a/b/c/d"):
        with pytest.raises(Invalid):
            artifacts.put(path)
    artifacts.put("0/ab")
    artifacts.put("0/a/bc")


def test_files_and_folders_are_removed(artifacts: Artifacts) -> None:
    for path in ("0/r/a", "0/r/b/c", "0/r/b/d/e", "0/r/bb"):
        artifacts.put(path)
    assert artifacts(service.remove, "0/r/b") == 2
    assert artifacts.entries("0/r") == [("0/r/a", False, 1), ("0/r/bb", False, 1)]
    assert artifacts(service.remove, "0/r/a") == 1
    assert artifacts(service.remove, "0/r/none") == 0


def test_paths_belong_to_the_experiment_that_keeps_them(artifacts: Artifacts) -> None:
    artifacts.database.write_now(lambda tx: projects.create(tx, LOCAL, PROJECT, "vision"))

    def create(name: str, location: str) -> int:
        return artifacts.database.write_now(lambda tx: experiments.create(tx, LOCAL, name, location, project="vision"))

    inside = create("x", "")
    create("y", "mlflow-artifacts:/team/y/")
    assert artifacts.put(f"{inside}/r/a").project == "vision"
    assert artifacts.put("team/y/a").project == "vision"
    assert artifacts.put("0/a").project == "default"
    for path in ("99/a", "team/a", "team", "nowhere", "9" * 40):
        with pytest.raises(NotFound, match="No experiment keeps"):
            artifacts.put(path)


def test_events_say_what_was_stored_and_removed(artifacts: Artifacts) -> None:
    start = artifacts.database.read_now(events.head)
    artifacts.put("0/a", 1)
    artifacts.put("0/a", 2)
    artifacts(service.remove, "0/a")
    artifacts(service.remove, "0/a")
    found = artifacts.database.read_now(lambda tx: events.read(tx, start, 10))
    assert [(each.type, each.subject) for each in found] == [
        ("artifacts.file.stored", "artifact/0/a"),
        ("artifacts.file.stored", "artifact/0/a"),
        ("artifacts.removed", "artifact/0/a"),
    ]
    assert blob(1).digest.encode() in bytes(found[1].data)


def test_long_folders_are_listed_whole(artifacts: Artifacts) -> None:
    """More entries, and more files in one of the folders, than are read together."""
    names = [f"f{number:03d}" for number in range(250)]
    for name in names:
        artifacts.put(f"0/r/{name}")
        artifacts.put(f"0/r/f100-d/{name}")
    expected = sorted([(f"0/r/{name}", False, 1) for name in names] + [("0/r/f100-d", True, None)])
    assert artifacts.entries("0/r") == expected
    assert len(artifacts.entries("0/r/f100-d")) == 250


# --- bytes of small files ----------------------------------------------------------------------------------------


def put_small(artifacts: Artifacts, path: str, content: bytes) -> ArtifactFile:
    found: ArtifactFile = artifacts(service.put, path, blob_of(content), content)
    return found


def unnamed(artifacts: Artifacts, after: str = "", limit: int = 10) -> list[Blob]:
    return artifacts.database.read_now(lambda tx: service.unnamed(tx, after, limit))


def forget(artifacts: Artifacts, since: int, *blobs: Blob) -> list[Blob]:
    return artifacts.database.write_now(lambda tx: service.forget(tx, blobs, since))


def newest(artifacts: Artifacts) -> int:
    return artifacts.database.read_now(events.head)


@pytest.mark.parametrize("content", [b"", b"text", bytes(range(256)) * 64], ids=len)
def test_small_files_come_with_their_bytes(artifacts: Artifacts, content: bytes) -> None:
    stored = put_small(artifacts, "0/a", content)
    assert (stored.digest, stored.size) == (blob_of(content).digest, len(content))
    put_small(artifacts, "0/b/c", content)
    assert artifacts.get("0/a").content == artifacts.get("0/b/c").content == content
    artifacts.put("0/a", 5)
    assert artifacts.get("0/a").content is None
    assert artifacts.get("0/b/c").content == content


def test_bytes_go_when_no_file_needs_them(artifacts: Artifacts) -> None:
    texts = [b"%d" % number for number in range(5)]
    small = sorted((blob_of(text) for text in texts), key=lambda each: each.digest)
    for text in texts:
        put_small(artifacts, f"0/{text.decode()}", text)
    put_small(artifacts, "0/again", b"3")
    assert unnamed(artifacts) == []
    artifacts.clear()
    assert unnamed(artifacts) == small
    assert unnamed(artifacts, small[1].digest, 2) == small[2:4]
    put_small(artifacts, "0/saved", b"3")
    rest = [each for each in small if each != blob_of(b"3")]
    assert unnamed(artifacts, "", 1) == rest[:1]
    assert forget(artifacts, newest(artifacts), *rest) == rest
    assert unnamed(artifacts) == []
    assert artifacts.get("0/saved").content == b"3"


def test_bytes_stay_that_got_a_name_since_nothing_named_them(artifacts: Artifacts) -> None:
    """As a new file, in place of another, and by a second name of such a file."""
    texts = [b"%d" % number for number in range(4)]
    small = sorted((blob_of(text) for text in texts), key=lambda each: each.digest)
    for text in texts:
        put_small(artifacts, f"0/{text.decode()}", text)
    artifacts.clear()
    since = newest(artifacts)
    assert unnamed(artifacts) == small
    put_small(artifacts, "0/new", b"0")
    put_small(artifacts, "0/replaced", b"other")
    put_small(artifacts, "0/replaced", b"1")
    put_small(artifacts, "0/folder/first", b"2")
    artifacts.database.write_now(lambda tx: service.link(tx, LOCAL, "0/folder", "0/second", "default"))
    artifacts(service.remove, "0/folder")
    rest = [blob_of(b"3")]
    assert forget(artifacts, since, *small) == rest
    assert artifacts.get("0/second/first").content == b"2"


# --- multipart uploads -------------------------------------------------------------------------------------------


def upload(artifacts: Artifacts, path: str = "0/a") -> str:
    upload_id: str = artifacts(service.start_upload, path)
    return upload_id


def put_part(artifacts: Artifacts, upload_id: str, number: int, content: int) -> None:
    artifacts.database.write_now(lambda tx: service.put_part(tx, upload_id, number, blob(content)))


def parts(artifacts: Artifacts, upload_id: str, wanted: list[Part], path: str = "0/a") -> list[Blob]:
    return artifacts.database.read_now(lambda tx: service.parts(tx, upload_id, path, wanted))


def test_parts_come_in_any_order_and_may_be_repeated(artifacts: Artifacts) -> None:
    upload_id = upload(artifacts)
    for number, content in ((10_000, 3), (2, 9), (2, 2), (1, 1)):
        put_part(artifacts, upload_id, number, content)
    wanted = [Part(2, f'"{blob(2).digest}"'), Part(1, ""), Part(10_000, blob(3).digest)]
    assert parts(artifacts, upload_id, wanted) == [blob(1), blob(2), blob(3)]
    artifacts(service.end_upload, upload_id)
    with pytest.raises(NotFound, match="no multipart upload"):
        put_part(artifacts, upload_id, 3, 1)


def test_wrong_parts_are_refused(artifacts: Artifacts) -> None:
    upload_id = upload(artifacts)
    put_part(artifacts, upload_id, 1, 1)
    for number in (0, -1, 10_001):
        with pytest.raises(Invalid, match="from 1 to 10000"):
            put_part(artifacts, upload_id, number, 1)
    for wanted in ([Part(2, "")], [Part(1, blob(2).digest)], [Part(0, "")]):
        with pytest.raises(Invalid, match="was not uploaded"):
            parts(artifacts, upload_id, wanted)
    with pytest.raises(Invalid, match="does not belong"):
        parts(artifacts, upload_id, [Part(1, "")], "0/b")
    with pytest.raises(NotFound):
        parts(artifacts, "0" * 32, [])


# --- who may -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
def test_roles_are_asked_for(artifacts: Artifacts, role: Role) -> None:
    artifacts.put("0/secret")
    mine = Artifacts(artifacts.database, Caller("x", roles={"default": role, "other": Role.ADMIN}))
    sees, writes = role >= Role.VIEWER, role >= Role.EDITOR
    assert bool(mine.entries("0")) is sees
    assert mine.entries("") == []
    if sees:
        mine.get("0/secret")
    else:
        with pytest.raises(NotFound):
            mine.get("0/secret")
    calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (service.put, ("0/new", blob(1))), (service.start_upload, ("0/new2",)), (service.remove, ("0/new",)),
    ]  # fmt: skip
    for verb, arguments in calls:
        if writes:
            mine(verb, *arguments)
        else:
            with pytest.raises(Denied if sees else NotFound):
                mine(verb, *arguments)


def test_no_project_reaches_into_the_folders_of_another(artifacts: Artifacts) -> None:
    database = artifacts.database

    def create(caller: Caller, location: str, project: str) -> int:
        return database.write_now(lambda tx: experiments.create(tx, caller, location or "x", location, project=project))

    for name in ("vault", "own"):
        database.write_now(lambda tx, name=name: projects.create(tx, LOCAL, PROJECT, name))  # type: ignore[misc]
    intruder = Caller("mallory", roles={"own": Role.EDITOR}, project="own")
    number = create(LOCAL, "mlflow-artifacts:/s/v", "vault")
    artifacts.put("s/v/run/model", 1)
    folders = ("s", "s/", "s/v", "s/v/", "s/v/run", f"{number}", "0/run", "999999", "")
    for location in [f"mlflow-artifacts:/{folder}" for folder in folders] + ["mlflow-artifacts://host/s/v/run"]:
        with pytest.raises(Denied, match="not free"):
            create(intruder, location, "own")
    for location in ("mlflow-artifacts:/s2", "mlflow-artifacts:/s/w", "mlflow-artifacts:/²/x", "s3://s/v", ""):
        create(intruder, location, "own")
    mine = Artifacts(database, intruder)
    for path in ("s/v/run/model", "²", "٥/x"):
        with pytest.raises((Denied, NotFound)):
            mine.put(path, 2)
    assert mine.put("s2/a").project == "own"
    assert artifacts.get("s/v/run/model").digest == blob(1).digest


def test_a_file_that_another_project_left_is_not_overwritten(artifacts: Artifacts) -> None:
    class Elsewhere(TrackingOwners):
        def project_of(self, tx: Any, path: str) -> str | None:
            return "elsewhere"

    artifacts.put("0/a", 1)
    with pytest.raises(Denied, match="another project"):
        artifacts.database.write_now(lambda tx: service.put(tx, LOCAL, Elsewhere(), "0/a", blob(2)))
    assert artifacts.get("0/a").digest == blob(1).digest


def test_a_part_is_in_an_upload_only_once(artifacts: Artifacts) -> None:
    upload = artifacts(service.start_upload, "0/r/x")
    artifacts.database.write_now(lambda tx: service.put_part(tx, upload, 1, blob(1)))
    with pytest.raises(Invalid, match="only once"):
        artifacts.database.read_now(lambda tx: service.parts(tx, upload, "0/r/x", [Part(1, ""), Part(1, "")]))
