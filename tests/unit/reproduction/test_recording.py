"""What is recorded, and that it is read again as it was: also what the demo records, and what somebody made up."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from examples.flights import capture
from mlwright.kernel.client import Client
from mlwright.kernel.errors import NotFound
from mlwright.reproduction import recording, records
from mlwright.reproduction.git import Repository
from mlwright.reproduction.recording import Asked, Recording
from mlwright.reproduction.spec import Record
from tests.unit.reproduction.repositories import repository


class Stored:
    """A server that has nothing but the files of one run."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def pieces(self, path: str, headers: Mapping[str, str]) -> Iterator[bytes]:
        name = path.rpartition("/")[2]
        if name not in self._files:
            raise NotFound(path)
        return iter([self._files[name].encode()])


def read(found: Recording | capture.Capture, *sources: str, **tags: str) -> Record:
    """What is read of a run that has the recording, and datasets from these files."""
    inputs = [{"dataset": {"source": json.dumps({"uri": each}), "source_type": "local"}} for each in sources]
    run: dict[str, Any] = {"run_id": "r", "name": "n", "experiment_id": 0, "status": "FINISHED", "model_outputs": []}
    run |= {"tags": {**found.tags, **tags}, "inputs": inputs}
    return records.read(Client(Stored(found.files)), run)  # type: ignore[arg-type]  # it carries no other request


@pytest.fixture
def code(tmp_path: Path) -> Path:
    repository(tmp_path / "code", sub__train_py="a = 1\n")
    (tmp_path / "code" / "sub" / "rows.csv").write_text("1\n")
    return tmp_path / "code"


def test_what_is_recorded_is_read_again(code: Path) -> None:
    (code / "sub" / "train.py").write_text("a = 2\n")
    asked = Asked([sys.executable, "train.py", "--name", "a b"], code / "sub", [Path("rows.csv")], {"A": "1"}, ["KEY"])
    found = read(recording.record(asked))
    assert found.command == [Path(sys.executable).name, "train.py", "--name", "a b"]
    assert (found.folder, found.dirty, found.untracked) == ("sub", True, [])
    assert "+a = 2" in str(found.diff)
    assert found.data == {"./rows.csv": recording.digest_of(code / "sub" / "rows.csv")}
    assert (found.settings, found.secrets) == ({"A": "1"}, ["KEY"])
    assert found.python == ".".join(str(part) for part in sys.version_info[:3])
    assert any(line.startswith("pytest==") for line in found.lock)


def test_outside_git(tmp_path: Path) -> None:
    found = read(recording.record(Asked([sys.executable, "x.py"], tmp_path)))
    assert (found.commit, found.diff, found.dirty) == ("", None, False)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no program"):
        recording.record(Asked(["no-such-program"], tmp_path))
    with pytest.raises(NotFound, match="no data"):
        recording.record(Asked([sys.executable], tmp_path, [Path("gone.csv")]))


def test_a_package_from_a_folder_is_no_matter_of_an_index(code: Path) -> None:
    origin = {"url": (code / "lib").as_uri(), "dir_info": {"editable": True}}
    packages: list[dict[str, Any]] = [
        {"name": "own", "version": "1", "origin": origin},
        {"name": "b", "version": "2", "origin": None},
    ]
    assert recording._lock(packages) == "b==2\n"
    found = recording._local(packages, Repository(code))
    assert found == [{"name": "own", "version": "1", "path": "lib", "in_repository": True}]


def test_digests_of_a_folder(code: Path) -> None:
    assert list(recording.digests(Path("sub"), code)) == ["sub/rows.csv", "sub/train.py"]


def test_the_demo_agrees(code: Path) -> None:
    (code / "sub" / "train.py").write_text("a = 2\n")
    made = capture.capture(code, {"rows.csv": "sha256:1", "more.csv": "sha256:2"}, ["/x/python", "-m", "train"])
    found = read(made, "/somewhere/rows.csv")
    assert found.command == ["python", "-m", "train"]
    assert (found.dirty, found.untracked) == (True, ["sub/rows.csv"])
    assert "+a = 2" in str(found.diff)
    assert found.data == {"/somewhere/rows.csv": "sha256:1", "more.csv": "sha256:2"}
    assert found.lock
    assert found.python == ".".join(str(part) for part in sys.version_info[:3])


def test_what_mlflow_alone_records() -> None:
    tags = {"mlflow.source.name": "train.py", "mlflow.source.git.commit": "a" * 40, "mlflow.source.git.repoURL": "u"}
    found = read(Recording({}, {}), **tags)
    assert (found.command, found.script, found.commit, found.origin) == ([], "train.py", "a" * 40, "u")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"git": 1, "data": [], "local": 5, "secrets": "x", "settings": []}'])
def test_nonsense_is_nothing(text: str) -> None:
    found = read(
        Recording({"mlwright.command": "'"}, {"environment.json": text, "requirements.lock.txt": "\0\n-e x\n"})
    )
    assert (found.command, found.data, found.lock, found.local, found.secrets) == ([], {}, [], [], [])


def test_what_would_lead_out_is_left_out() -> None:
    document = {"git": {"folder": "../../etc"}, "settings": {"A=B": "1", "OK": "1"}, "secrets": ["A B", "C"]}
    found = read(Recording({}, {"environment.json": json.dumps(document)}))
    assert (found.folder, found.settings, found.secrets) == ("", {"OK": "1"}, ["C"])


def test_a_lock_names_packages_only() -> None:
    lock = "a==1\n-r /etc/passwd\nb @ https://x.invalid/b.whl\n--index-url https://x.invalid\n./c\n# d==1\ne>=2\n"
    assert read(Recording({}, {"requirements.lock.txt": lock})).lock == ["a==1", "e>=2"]


def test_changes_that_were_cut_are_none() -> None:
    found = read(Recording({}, {"dirty.diff": "diff --git a/x b/x\n\n# cut after 10 characters\n"}))
    assert found.diff is None
