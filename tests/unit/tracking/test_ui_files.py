"""Artifacts on the pages: the tree, previews, and files that are never served with the rights of our own pages."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlwright.kernel.identity import LOCAL
from mlwright.tracking.service import experiments
from tests.unit.tracking.ui_world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def run_id(world: World) -> str:
    run_id = world.run(world.experiment("e"), "r")
    world.put(run_id, "a/b/deep file é.txt", b"deep text")
    world.put(run_id, "page.html", b"<script>alert(1)</script>")
    world.put(run_id, "plots/one.png", b"\x89PNG")
    world.put(run_id, "table.csv", b"name,v\nx,1\n")
    world.put(run_id, "empty.txt", b"")
    return run_id


def test_the_tree_opens_along_the_path(world: World, run_id: str) -> None:
    found = world.get(f"/runs/{run_id}/artifacts/a/b?format=json").json()
    assert [(node["entry"]["path"], node["level"], node["opened"]) for node in found["folder"]["nodes"]] == [
        ("a", 0, True),
        ("a/b", 1, True),
        ("a/b/deep file é.txt", 2, False),
        ("empty.txt", 0, False),
        ("page.html", 0, False),
        ("plots", 0, False),
        ("table.csv", 0, False),
    ]
    page = world.get(f"/runs/{run_id}/artifacts/a/b/deep file é.txt").text
    assert "deep text" in page
    assert 'aria-current="page"' in page


def test_folders_open_where_nothing_else_is(world: World) -> None:
    run_id = world.run(world.experiment("e"), "r")
    world.put(run_id, "model/MLmodel", b"x")
    world.put(run_id, "plots/deep/one.png", b"\x89PNG")
    found = world.get(f"/runs/{run_id}/artifacts?format=json").json()
    shown = [node["entry"]["path"] for node in found["folder"]["nodes"]]
    assert shown == ["model", "model/MLmodel", "plots", "plots/deep"]


def test_previews(world: World, run_id: str) -> None:
    base = f"/runs/{run_id}/artifacts"
    assert "<bdi>x</bdi>" in world.get(f"{base}/table.csv").text
    assert 'sandbox=""' in world.get(f"{base}/page.html").text
    assert 'sandbox="allow-scripts"' in world.get(f"{base}/page.html?scripts=1").text
    assert "allow-same-origin" not in world.get(f"{base}/page.html?scripts=1").text
    assert "show=1" in world.get(f"{base}/plots/one.png").text
    assert 'loading="lazy"' in world.get(f"{base}/plots").text, "a folder shows its pictures"
    assert world.get(f"{base}/empty.txt").status_code == 200


def test_files_are_sealed(world: World, run_id: str) -> None:
    raw = f"/runs/{run_id}/raw"
    saved = world.get(f"{raw}/page.html")
    assert saved.headers["content-disposition"].startswith("attachment")
    for query in ("", "?show=1", "?show=1&scripts=1"):
        answer = world.get(f"{raw}/page.html{query}")
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("sandbox")
        assert "allow-same-origin" not in policy
        assert "default-src 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "allow-scripts" in world.get(f"{raw}/page.html?scripts=1").headers["content-security-policy"]
    assert "allow-scripts" not in world.get(f"{raw}/table.csv?scripts=1").headers["content-security-policy"]


@pytest.mark.parametrize("path", ["../x", "%2e%2e/x", "a/%2e%2e/%2e%2e/x", "a\\b", "%00", "C:/x", "nothing.txt"])
def test_no_way_out(world: World, run_id: str, path: str) -> None:
    for place in ("artifacts", "raw"):
        answer = world.get(f"/runs/{run_id}/{place}/{path}")
        assert answer.status_code in {400, 404}, place
        assert "Traceback" not in answer.text


def test_artifacts_stored_elsewhere_are_named_not_read(world: World) -> None:
    number = world.write(lambda tx: experiments.create(tx, LOCAL, "far", "s3://bucket/far"))
    run_id = world.run(number, "r")
    answer = world.get(f"/runs/{run_id}/artifacts")
    assert answer.status_code == 200
    assert "s3://bucket/far" in answer.text
    assert world.get(f"/runs/{run_id}/environment").status_code == 200
    assert world.get(f"/runs/{run_id}/raw/x").status_code == 400


def test_a_captured_environment(world: World) -> None:
    run_id = world.run(world.experiment("e"), "r", tags={"mlwright.git.commit": "abc123", "mlwright.python": "3.11.7"})
    world.put(run_id, "environment/requirements.lock.txt", b"numpy==2.1.0\n")
    world.put(run_id, "environment/dirty.diff", b"--- a\n+++ b\n@@ -1 +1 @@\n-old <b>\n+new\n")
    page = world.get(f"/runs/{run_id}/environment").text
    for part in ("abc123", "3.11.7", "numpy", "2.1.0", "-old &lt;b&gt;", 'class="plus"'):
        assert part in page
