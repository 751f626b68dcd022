"""What is recorded to repeat a run, against real git repositories."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from examples.flights import capture

DATA = {"flights.csv.zip": "sha256:" + "ab" * 32}


def git(folder: Path, *words: str) -> str:
    """Run git there with an identity of its own."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit of one file."""
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("a = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_clean_tree(repository: Path) -> None:
    found = capture.capture(repository, DATA, ["/opt/python", "-m", "examples.flights", "--data", "a b"])
    assert found.tags["mlwright.git.commit"] == git(repository, "rev-parse", "HEAD").strip()
    assert found.tags["mlwright.git.dirty"] == "false"
    assert found.tags["mlwright.command"] == "python -m examples.flights --data 'a b'"
    assert found.tags["mlwright.python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert found.tags["mlwright.platform"]
    assert found.files["dirty.diff"] == ""


def test_dirty_tree_can_be_restored_from_commit_and_diff(repository: Path) -> None:
    (repository / "code.py").write_text("a = 2\n")
    (repository / "new.py").write_text("b = 1\n")
    git(repository, "add", "code.py")  # staged changes count too
    found = capture.capture(repository, DATA)
    assert found.tags["mlwright.git.dirty"] == "true"
    assert "# untracked: new.py" in found.files["dirty.diff"]
    git(repository, "reset", "-q", "--hard")
    (repository / "kept.diff").write_text(found.files["dirty.diff"])
    git(repository, "apply", "kept.diff")
    assert (repository / "code.py").read_text() == "a = 2\n"


def test_an_untracked_file_alone_makes_the_tree_dirty(repository: Path) -> None:
    (repository / "new.py").write_text("b = 1\n")
    assert capture.capture(repository, DATA).tags["mlwright.git.dirty"] == "true"


def test_huge_differences_are_cut_and_say_so(repository: Path) -> None:
    (repository / "code.py").write_text("x = 1\n" * 300_000)
    commit, diff = capture.code_version(repository)
    assert commit is not None
    assert len(diff) < capture.DIFF_LIMIT + 100
    assert "# cut after" in diff


def test_outside_git_the_rest_is_still_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = capture.capture(tmp_path, DATA)
    assert not any(key.startswith("mlwright.git") for key in found.tags)
    assert json.loads(found.files["environment.json"])["git"] is None
    assert found.files["dirty.diff"] == ""


def test_without_git_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert capture.code_version(tmp_path) == (None, "")


def test_distributions_are_locked_by_version() -> None:
    lines = capture.locked_distributions().splitlines()
    names = [line.split("==")[0] for line in lines]
    assert names == sorted(set(names))
    assert f"pytest=={pytest.__version__}" in lines


def test_files_go_below_environment(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = tmp_path_factory.mktemp("artifacts")
    assert capture.capture(repository, DATA).write(target) == 3
    names = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    assert names == ["environment/dirty.diff", "environment/environment.json", "environment/requirements.lock.txt"]
    assert json.loads((target / "environment" / "environment.json").read_text())["data"] == DATA
