"""What a start imports, and how."""

import gc
import subprocess
import sys

import pytest

from mlwright.app.loading import large_import


def test_the_collector_of_garbage_rests_during_a_large_import() -> None:
    with large_import():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_works_again_when_the_import_fails() -> None:
    with pytest.raises(ModuleNotFoundError), large_import():
        raise ModuleNotFoundError
    assert gc.isenabled()


def test_it_stays_off_where_it_was_off() -> None:
    gc.disable()
    try:
        with large_import():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_server_imports_nothing_that_only_some_use() -> None:
    late = {
        "sqlalchemy.dialects.postgresql",
        "alembic",
        "jinja2",
        "markdown_it",
        "nh3",
        "numpy",
        "obstore",
        "psycopg",
        "pyarrow",
        "rich",
        "yaml",
    }
    program = f"import sys, mlwright.app.server; print(sorted(set({sorted(late)}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
