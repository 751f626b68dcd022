"""The ratchet sees planted violations, and leaves good code alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import ratchet

GOOD = '''"""A module."""


def double(number: int) -> int:
    """Return twice the number."""
    return 2 * number
'''


def project(root: Path, **files: str) -> Path:
    """Write a small project; keys are paths with `__` for the slash and without the suffix."""
    for name in ("src/pkg/__init__.py", "tests/__init__.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    for name, text in files.items():
        path = root / "src" / "pkg" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def breaches(root: Path) -> str:
    return "\n".join(ratchet.check(root).breaches)


def test_good_code_passes(tmp_path: Path) -> None:
    assert breaches(project(tmp_path, good=GOOD)) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\n" * 601, "601 lines; the budget is 600"),
        ("def f() -> None:\n" + "    print()\n" * 80, "f has 81 lines; the budget is 80"),
        ("def f(a, *, b: int) -> None: ...\n", "no annotation for a"),
        ("def f(a: int): ...\n", "no annotation for return"),
        ("class A:\n    def f(self, *args, **kw: int) -> None: ...\n", "no annotation for args"),
        ("async def f(a: int): ...\n", "no annotation for return"),
        ("try:\n    x = 1\nexcept Exception:\n    x = 2\n", "bad.py:3: a broad except"),
        ("try:\n    x = 1\nexcept:\n    x = 2\n", "bad.py:3: a broad except"),
        (
            "try:\n    x = 1\nexcept (ValueError, BaseException):  # noqa: BLE001\n    x = 2\n",
            "a broad except",
        ),
        ("x = 1  # TODO: more\n", "bad.py:1: a left-over"),
        ("def f() -> None:\n    raise NotImplementedError('later')\n", "bad.py:2: a stub"),
    ],
)
def test_a_planted_violation_is_caught(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in breaches(project(tmp_path, bad=text))


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    x = 1\nexcept Exception:  # the request boundary: anything becomes a 500\n    x = 2\n",
        "try:\n    x = 1\n# the request boundary: anything becomes a 500\nexcept Exception:\n    x = 2\n",
        "try:\n    x = 1\nexcept ValueError:\n    x = 2\n",
    ],
)
def test_a_handler_with_a_reason_or_a_narrow_one_passes(tmp_path: Path, text: str) -> None:
    assert breaches(project(tmp_path, fine=text)) == ""


def test_the_median_of_files_has_a_budget(tmp_path: Path) -> None:
    root = project(tmp_path, a="x = 1\n" * 200, b="x = 1\n" * 300, c="x = 1\n")
    assert "the median file has 200 lines" in breaches(root)


def test_the_95th_percentile_of_functions_has_a_budget(tmp_path: Path) -> None:
    long = "def f() -> None:\n" + "    print()\n" * 50
    short = "".join(f"def g{number}() -> None: ...\n" for number in range(10))
    assert "5 % of the functions are longer than 50 lines" in breaches(project(tmp_path, a=long + short))


def test_import_cycles_are_found(tmp_path: Path) -> None:
    root = project(
        tmp_path,
        a="from pkg import b\n",
        b="from .c import x\n",
        c="import pkg.a\nx = 1\n",
        d="import pkg.a\n",
    )
    assert breaches(root) == "import cycle: pkg.a <-> pkg.b <-> pkg.c"


def test_imports_for_types_or_inside_functions_make_no_cycle(tmp_path: Path) -> None:
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pkg import b\n"
    late = "def f() -> None:\n    from pkg import a\n    print(a)\n"
    assert breaches(project(tmp_path, a=guarded, b="from pkg import c\n", c=late)) == ""


def test_a_folder_without_init_is_named(tmp_path: Path) -> None:
    assert "needs an __init__.py" in breaches(project(tmp_path, slice__spec=GOOD))


def test_code_lines_leave_out_comments_blanks_and_docstrings() -> None:
    text = '"""Doc.\n\nMore.\n"""\n\n# comment\nx = """a\nb"""\n\n'
    text += 'def f() -> int:\n    """Doc."""\n    return 1  # why\n'
    assert ratchet.code_lines(text) == 4


def test_percentile_of_small_samples() -> None:
    assert ratchet.percentile([], 0.95) == 0
    assert ratchet.percentile([7], 0.95) == 7
    assert ratchet.percentile(list(range(1, 101)), 0.95) == 95


def test_the_command_fails_with_the_breaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, bad="def f(a): ...\n")
    monkeypatch.setattr("sys.argv", ["ratchet", "--root", str(tmp_path)])
    with pytest.raises(SystemExit, match="no annotation for a, return"):
        ratchet.main()
