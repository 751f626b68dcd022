"""Set-up pins every distribution by hash, and repeats nothing when its inputs are the same."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tools import bootstrap, peers

CONSTRAINTS = sorted((bootstrap.ROOT / "constraints").glob("*.txt"))


@pytest.mark.parametrize("path", CONSTRAINTS, ids=lambda path: path.name)
def test_every_pin_has_hashes_and_no_index(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert not re.search(r"index|find-links|trusted-host", text)
    entries = re.split(r"\n(?=[a-z])", text.split("\n", 1)[1])
    assert len(entries) >= 1
    for entry in entries:
        assert re.match(r"[a-z0-9][a-z0-9._-]*(\[[a-z,]+\])?==[^ ]+", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]


def test_every_core_dependency_is_capped_and_pinned() -> None:
    project = tomllib.loads((bootstrap.ROOT / "pyproject.toml").read_text())["project"]
    pinned = {line.split("==")[0] for line in (bootstrap.ROOT / "constraints" / "dev.txt").read_text().splitlines()}
    for requirement in project["dependencies"]:
        name = re.split(r"[\[<>=; ]", requirement)[0]
        assert ",<" in requirement, f"{requirement} has no upper limit"
        assert name in pinned, f"{name} is not in constraints/dev.txt: run `make constraints`"


def test_single_pin_returns_the_pin_with_its_hashes(tmp_path: Path) -> None:
    file = tmp_path / "pins.txt"
    file.write_text("# head\na==1\nuv==2 \\\n    --hash=sha256:11 \\\n    --hash=sha256:22\nz==3\n")
    assert bootstrap.single_pin(file, "uv") == "uv==2 \\\n    --hash=sha256:11 \\\n    --hash=sha256:22\n"
    with pytest.raises(LookupError, match="nothere"):
        bootstrap.single_pin(file, "nothere")


def test_the_digest_follows_the_inputs(tmp_path: Path) -> None:
    file = tmp_path / "pins.txt"
    file.write_text("a==1\n")
    first = bootstrap.inputs_digest(file, editable=False)
    assert bootstrap.inputs_digest(file, editable=False) == first
    assert bootstrap.inputs_digest(file, editable=True) != first
    file.write_text("a==2\n")
    assert bootstrap.inputs_digest(file, editable=False) != first


def test_a_second_set_up_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pins.txt"
    file.write_text("a==1\n")
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / bootstrap.STAMP).write_text(bootstrap.inputs_digest(file.absolute(), editable=False))
    monkeypatch.setattr("sys.argv", ["bootstrap", str(venv), str(file)])
    bootstrap.main()
    assert [path.name for path in venv.iterdir()] == [bootstrap.STAMP]


def test_the_lock_of_the_web_assets_names_no_host() -> None:
    assert '"resolved"' not in (bootstrap.ROOT / "package-lock.json").read_text()


def test_peers_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLWRIGHT_PEERS", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert peers.peers_root() == tmp_path / ".cache" / "mlwright" / "peers"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert peers.peers_root() == tmp_path / "x" / "mlwright" / "peers"
    monkeypatch.setenv("MLWRIGHT_PEERS", str(tmp_path / "p"))
    assert peers.peers_root() == tmp_path / "p"


def test_a_peer_is_ready_only_with_its_own_stamp(tmp_path: Path) -> None:
    peer = peers.PEERS[0]
    assert not peers.is_ready(peer, tmp_path)
    (tmp_path / peer.name).mkdir()
    (tmp_path / peer.name / peers.STAMP).write_text("made from something else")
    assert not peers.is_ready(peer, tmp_path)
    (tmp_path / peer.name / peers.STAMP).write_text(peer.stamp)
    assert peers.is_ready(peer, tmp_path)


def test_make_lists_every_command() -> None:
    listed = subprocess.run(["make", "help"], cwd=bootstrap.ROOT, text=True, capture_output=True, check=True).stdout
    for target in [
        "help",
        "setup",
        "demo",
        "test",
        "lint",
        "format",
        "docs",
        "peers",
        "bench",
        "clean",
        "constraints",
    ]:
        assert re.search(rf"^  make {target} ", listed, re.MULTILINE), f"make {target} is not listed"
