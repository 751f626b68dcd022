"""Commits and changes, against real git repositories; what a run says is hostile."""

from pathlib import Path

import pytest

from mlwright.kernel.errors import Invalid, NotFound
from mlwright.reproduction.git import Repository, fetch, is_commit
from tests.unit.reproduction.repositories import git, repository


@pytest.fixture
def world(tmp_path: Path) -> Path:
    repository(tmp_path / "code", train_py="a = 1\n", sub__more_py="b = 1\n")
    return tmp_path


def test_commit_and_changes_bring_everything_back(world: Path) -> None:
    code = world / "code"
    (code / "train.py").write_text("a = 2\n")
    (code / "sub" / "new name.py").write_text("c = 1\n")
    (code / "picture.bin").write_bytes(bytes(range(256)))
    (code / "sub" / "more.py").unlink()
    before = git(code, "status", "--porcelain")
    found = Repository.around(code / "sub")
    assert found is not None
    diff, left_out = found.changes()
    assert left_out == []
    assert git(code, "status", "--porcelain") == before, "the user's index is as it was"
    found.check_out(found.commit, world / "copy")
    assert Repository(world / "copy").apply(diff) == ""
    assert (world / "copy" / "train.py").read_text() == "a = 2\n"
    assert (world / "copy" / "sub" / "new name.py").read_text() == "c = 1\n"
    assert (world / "copy" / "picture.bin").read_bytes() == bytes(range(256))
    assert not (world / "copy" / "sub" / "more.py").exists()


def test_large_files_links_and_secrets_are_named_only(world: Path) -> None:
    code = world / "code"
    (code / "large.bin").write_bytes(bytes(2 << 20))
    (code / "key.txt").write_text(
        "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEow" * 40 + "\n-----END RSA PRIVATE KEY-----\n"
    )
    (code / "link").symlink_to("/etc/passwd")
    (code / ".gitignore").write_text("*.log\n")
    (code / "run.log").write_text("x\n")
    diff, left_out = Repository(code).changes()
    assert left_out == ["key.txt", "large.bin", "link"]
    assert "PRIVATE" not in diff
    assert "run.log" not in diff


def test_a_commit_that_no_branch_leads_to(world: Path) -> None:
    code = world / "code"
    first = git(code, "rev-parse", "HEAD").strip()
    git(code, "commit", "-q", "--amend", "-m", "another")
    found = Repository(code)
    assert found.has(first)
    found.check_out(first, world / "copy")
    assert git(world / "copy", "rev-parse", "HEAD").strip() == first


@pytest.mark.parametrize("text", ["", "HEAD", "--help", "-" * 40, "abc", "g" * 40, "A" * 40, "0" * 41, "0" * 39 + "\n"])
def test_what_is_no_commit(world: Path, text: str) -> None:
    assert not is_commit(text)
    assert not Repository(world / "code").has(text)


def test_a_commit_that_is_not_there(world: Path) -> None:
    assert not Repository(world / "code").has("0" * 40)


def test_why_changes_do_not_apply(world: Path) -> None:
    code = world / "code"
    (code / "train.py").write_text("a = 2\n")
    diff, _ = Repository(code).changes()
    git(code, "checkout", "-q", "--", "train.py")
    (code / "train.py").write_text("quite another\n")
    assert "train.py" in Repository(code).apply(diff)
    assert Repository(code).apply("# untracked: x\n") == ""


def test_changes_never_leave_the_folder(world: Path) -> None:
    text = (
        "diff --git a/../out.py b/../out.py\nnew file mode 100644\n--- /dev/null\n+++ b/../out.py\n@@ -0,0 +1 @@\n+x\n"
    )
    assert Repository(world / "code").apply(text)
    assert not (world / "out.py").exists()


def test_no_hook_runs(world: Path) -> None:
    code = world / "code"
    hook = world / "hooks" / "post-checkout"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ntouch {world}/ran\n")
    hook.chmod(0o755)
    git(code, "config", "core.hooksPath", str(hook.parent))
    found = Repository(code)
    found.check_out(found.commit, world / "copy")
    assert not (world / "ran").exists()


def test_where_a_repository_comes_from(world: Path) -> None:
    code = world / "code"
    assert Repository(code).origin == ""
    git(code, "remote", "add", "origin", "https://me:secret@example.invalid/team/code.git")
    assert Repository(code).origin == "https://example.invalid/team/code.git"
    assert Repository.around(world) is None


def test_what_is_fetched(world: Path) -> None:
    assert fetch(str(world / "code"), world / "no").folder == world / "code"
    with pytest.raises(NotFound, match="is no git repository"):
        fetch(str(world), world / "no")
    with pytest.raises(Invalid):
        fetch("--upload-pack=touch x", world / "no")
    with pytest.raises(NotFound, match="cannot be cloned"):
        fetch(f"ext::sh -c touch% {world}/ran", world / "no")
    assert not (world / "ran").exists()
    assert fetch(f"file://{world}/code", world / "cloned").commit == Repository(world / "code").commit
