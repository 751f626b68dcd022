"""The architecture contracts catch planted violations in a copy of the package's shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import imports

SHAPE = (
    "app/wiring", "backends/postgres", "engineer/plan", "kernel/http", "kernel/errors", "serving/service",
    "registry/service", "tracking/spec", "tracking/service", "tracking/ports", "tracking/tables",
    "tracking/api", "tracking/ui", "tracking/mlflow/routes", "security/service", "web/page",
)  # fmt: skip


def package(root: Path, **lines: str) -> Path:
    """Write a package with every place in it; `lines` fills some modules (`__` is the slash)."""
    for place in SHAPE:
        path = root / "mlwright" / f"{place}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        for folder in [path.parent, *path.parent.parents]:
            if folder == root:
                break
            (folder / "__init__.py").touch()
    for place, line in lines.items():
        path = root / "mlwright" / f"{place.replace('__', '/')}.py"
        assert path.exists(), place
        path.write_text(f"{line}\n")
    return root


def test_allowed_imports_pass(tmp_path: Path) -> None:
    root = package(
        tmp_path,
        app__wiring="import uvicorn, mlwright.backends.postgres\nfrom mlwright.tracking import tables, api",
        backends__postgres="import psycopg, obstore\nfrom mlwright.tracking import ports",
        registry__service="from mlwright.tracking import spec, service",
        tracking__service="from mlwright.tracking import tables\nfrom mlwright.kernel import errors",
        tracking__mlflow__routes="import starlette.routing\nfrom mlwright.tracking import service",
        tracking__ui="from starlette.responses import Response\nfrom mlwright.web import page",
        kernel__http="import starlette",
    )
    done = imports.check(root)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("place", "line", "contract"),
    [
        ("kernel__errors", "from mlwright.tracking import spec", "Tiers"),
        ("tracking__service", "from mlwright.registry import service", "Tiers"),
        ("tracking__service", "from mlwright.security import service", "Tiers"),
        ("serving__service", "from mlwright.app import wiring", "Tiers"),
        ("tracking__service", "from mlwright.backends import postgres", "Tiers"),
        ("web__page", "from mlwright.tracking import spec", "Tiers"),
        (
            "registry__service",
            "from mlwright.tracking import tables",
            "tracking is entered through spec and service",
        ),
        ("registry__service", "from mlwright.tracking.mlflow import routes", "tracking is entered through"),
        ("registry__service", "from mlwright.tracking import ports", "tracking's ports are for backends"),
        ("tracking__service", "from starlette.requests import Request", "HTTP only in faces"),
        ("kernel__errors", "import starlette", "HTTP only in faces"),
        ("tracking__service", "import obstore", "Vendor clients only in backends"),
        ("kernel__http", "import psycopg", "Vendor clients only in backends"),
        ("backends__postgres", "import mlflow", "Libraries that no process of ours loads"),
        (
            "tracking__service",
            "def f() -> None:\n    import pandas",
            "Libraries that no process of ours loads",
        ),
        ("kernel__http", "from mlwright.kernel import errors\nimport mlwright.web.page", "Tiers"),
    ],
)
def test_a_planted_violation_is_caught(tmp_path: Path, place: str, line: str, contract: str) -> None:
    done = imports.check(package(tmp_path, **{place: line}))
    assert done.returncode == 1, done.stdout
    broken = [text for text in done.stdout.splitlines() if text.endswith("BROKEN")]
    assert len(broken) == 1, done.stdout
    assert contract in broken[0]


def test_a_cycle_inside_a_slice_is_caught(tmp_path: Path) -> None:
    root = package(
        tmp_path,
        tracking__service="from mlwright.tracking import tables",
        tracking__tables="from mlwright.tracking import service",
    )
    assert "No cycles between siblings BROKEN" in imports.check(root).stdout


def test_a_place_that_the_design_does_not_know_is_caught(tmp_path: Path) -> None:
    root = package(tmp_path)
    (root / "mlwright" / "utils.py").write_text("")
    assert "utils" in imports.check(root).stdout


def test_missing_slices_break_nothing(tmp_path: Path) -> None:
    (tmp_path / "mlwright" / "kernel").mkdir(parents=True)
    for folder in ("mlwright", "mlwright/kernel"):
        (tmp_path / folder / "__init__.py").write_text("")
    done = imports.check(tmp_path)
    assert done.returncode == 0, done.stdout


def test_importing_for_types_only_is_allowed(tmp_path: Path) -> None:
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mlwright.tracking import spec"
    done = imports.check(package(tmp_path, kernel__errors=guarded))
    assert done.returncode == 0, done.stdout
