"""All that is missing is told at once, and nothing of the run's is started for that."""

import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlwright.compute.service import Flag
from mlwright.compute.spec import Environment, Limits
from mlwright.reproduction import checking, recording
from mlwright.reproduction.checking import Given, Plan
from mlwright.reproduction.git import Repository
from mlwright.reproduction.spec import LocalPackage, Record
from tests.unit.reproduction.repositories import git, repository


@dataclass
class Lacking:
    python: str = ""
    packages: dict[str, str] = field(default_factory=dict)


class Index:
    """Environments of which only what they lack is asked."""

    def __init__(self, lacks: Lacking) -> None:
        self._lacks = lacks

    def lacks(self, folder: Path, limits: Limits, *, builds: bool = False, cancelled: Flag | None = None) -> Lacking:
        return self._lacks

    def ready(
        self,
        model: Path,
        limits: Limits,
        *,
        builds: bool = False,
        exact: bool = False,
        cancelled: Flag | None = None,
    ) -> contextlib.AbstractContextManager[Environment]:
        pytest.fail("nothing is to be built")


class World:
    """A repository with a script that reads data which is not in git."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.code = folder, folder / "code"
        commit = repository(self.code, sub__train_py="a = 1\n")
        (self.code / "sub" / "rows.csv").write_text("1\n")
        (folder / "outside.csv").write_text("2\n")
        data = {"./rows.csv": self.digest(self.code / "sub" / "rows.csv")}
        data[str(folder / "outside.csv")] = self.digest(folder / "outside.csv")
        self.record = Record(
            "r", "n", 0, "FINISHED", ["python", "train.py"], "train.py", "sub", commit, lock=["a==1"], data=data,
            python="3.11.2",
        )  # fmt: skip
        self.lacks = Lacking()
        self.variables: dict[str, str] = {}

    @staticmethod
    def digest(path: Path) -> str:
        return recording.digest_of(path)

    def prepare(self, given: Given | None = None, **changed: object) -> Plan:
        scratch = self.folder / "scratch"
        scratch.mkdir()
        record = msgspec.structs.replace(self.record, **changed)
        index = Index(self.lacks)
        return checking.prepare(record, given or Given(self.code), scratch, index, self.variables, threading.Event())

    def missing(self, given: Given | None = None, **changed: object) -> dict[str, str]:
        return {each.what: each.detail for each in self.prepare(given, **changed).missing}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_nothing_is_missing(world: World) -> None:
    plan = world.prepare()
    assert (plan.missing, plan.notes) == ([], [])
    assert (plan.folder / "rows.csv").read_text() == "1\n", "the data lies beside the code, where it lay"
    assert checking.changed_outside(plan) == []
    (world.folder / "outside.csv").write_text("3\n")
    assert checking.changed_outside(plan) == [str(world.folder / "outside.csv")]


def test_everything_at_once(world: World) -> None:
    (world.code / "sub" / "rows.csv").write_text("changed\n")
    (world.folder / "outside.csv").unlink()
    world.lacks = Lacking("3.9.1", {})
    plan = world.prepare(
        command=[], commit="0" * 40, secrets=["KEY"], local=[LocalPackage("own", "1", "/x")], untracked=["u.py"]
    )
    found = [(each.what, each.detail) for each in plan.missing]
    assert [what for what, _ in found] == [
        "commit", "data", "data", "command", "package", "interpreter", "environment variable",
    ]  # fmt: skip
    assert "rows.csv has changed: it was sha256:" in found[1][1]
    assert found[2][1] == f"{world.folder}/outside.csv is not there"
    assert "train.py, and not its arguments" in found[3][1]
    assert all(each.hint for each in plan.missing)


def test_packages_that_nobody_has(world: World) -> None:
    said = "No solution found cause: Because a was not found in the registry and you require a==1, we can conclude x."
    world.lacks = Lacking("", {"a==1": said})
    assert world.missing() == {"package": "a==1: a was not found in the registry"}


@pytest.mark.parametrize(
    ("changed", "what", "detail"),
    [
        ({"commit": ""}, "commit", "does not say which commit"),
        ({"commit": "--help"}, "commit", "is no commit"),
        ({"dirty": True}, "uncommitted changes", "were not kept"),
        (
            {"diff": "diff --git a/no b/no\n--- a/no\n+++ b/no\n@@ -1 +1 @@\n-x\n+y\n"},
            "uncommitted changes",
            "not apply",
        ),
        ({"lock": []}, "lock", "which packages"),
        ({"command": ["python", "-u", "other.py"]}, "command", "no file other.py"),
        ({"command": ["./other.sh"]}, "command", "no program ./other.sh"),
        ({"folder": "other"}, "folder", "no folder 'other'"),
        ({"data": {"../../../out.csv": "sha256:1"}}, "data", "lies outside"),
    ],
)
def test_one_thing_is_missing(world: World, changed: dict[str, Any], what: str, detail: str) -> None:
    found = world.missing(**changed)
    assert detail in found[what]


def test_nothing_is_called_missing_because_something_else_is(world: World) -> None:
    assert list(world.missing(commit="0" * 40)) == ["commit"]


def test_what_the_user_says_counts(world: World) -> None:
    lock = world.folder / "lock.txt"
    lock.write_text("# mine\nb==2\n")
    given = Given(world.folder, str(world.code), world.record.commit, ["python", "-m", "x"], lock)
    plan = world.prepare(given, commit="", command=[], lock=[], dirty=True)
    assert plan.missing == []
    assert plan.record.command == ["python", "-m", "x"]
    assert (plan.needs / "requirements.txt").read_text() == "b==2\n"


def test_submodules_are_not_fetched(world: World) -> None:
    (world.code / ".gitmodules").write_text("[submodule]\n")
    git(world.code, "add", ".gitmodules")
    git(world.code, "commit", "-q", "-m", "more")
    assert "submodules" in world.missing(commit=Repository(world.code).commit)


def test_what_is_uncertain_is_said(world: World) -> None:
    plan = world.prepare(whole=False, python="", data={"bare.csv": "sha256:1"}, untracked=["u.py"])
    assert plan.missing == []
    assert len(plan.notes) == 4


@pytest.mark.parametrize(
    ("line", "script"),
    [
        ("python a.py -x", "a.py"),
        ("python3.11 -u -W ignore -X dev a.py", "a.py"),
        ("python -m a", ""),
        ("python -c pass", ""),
        ("python", ""),
        ("make a.py", ""),
    ],
)
def test_which_script_runs(line: str, script: str) -> None:
    assert checking.script_of(line.split()) == script
