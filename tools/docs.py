"""The documentation: builds both languages, and writes the generated parts of the reference pages.

    python -m tools.docs build         both sites into docs/site/
    python -m tools.docs reference     what `--help` and the error classes say, into docs/*/reference

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`; the text around it is written by hand.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from mlwright.app.cli import cli
from mlwright.kernel import errors

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ("en", "zh-TW")
_WIDTH = 100


def walk(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield the full name, the command and its context for a command and everything below it."""
    yield context.command_path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                below = click.Context(
                    child, parent=context, info_name=name, terminal_width=_WIDTH, **child.context_settings
                )
                yield from walk(child, below)


def cli_reference() -> str:
    """Return one section for each command: its name as a heading, its help as a fence."""
    top = click.Context(cli, info_name="mlwright", terminal_width=_WIDTH, **cli.context_settings)
    parts = [f"## {name}\n\n```text\n{command.get_help(context)}\n```" for name, command, context in walk(cli, top)]
    return "\n\n".join(parts)


def error_classes() -> list[type[errors.MlwrightError]]:
    """Return every kind of error, by HTTP status and code."""
    found = [each for each in vars(errors).values() if isinstance(each, type) and each.__base__ is not Exception]
    kinds = [each for each in found if issubclass(each, errors.MlwrightError)]
    return sorted(kinds, key=lambda each: (each.status, each.code))


def errors_reference() -> str:
    """Return the table of error codes with their HTTP status and exit status."""
    rows = [f"| `{each.code}` | {each.status} | {each.exit_code} | {each.title} |" for each in error_classes()]
    return "\n".join(["| code | HTTP | exit | title |", "|---|---|---|---|", *rows])


def event_types(source: Path = ROOT / "src") -> set[str]:
    """Return the names of all events that the code can emit, read from its syntax.

    Understands a constant type, and the slices' helper: a function whose argument `what` ends the name, called with
    a constant.
    """
    found: set[str] = set()
    for path in source.rglob("*.py"):
        text = path.read_text()
        if "Draft(" in text:
            found |= _events_of(ast.parse(text))
    return found


def _events_of(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        names = [argument.arg for argument in function.args.args]
        for call in _calls(function, "Draft"):
            kind = call.args[2] if len(call.args) > 2 else None
            if isinstance(kind, ast.Constant):
                found.add(str(kind.value))
            elif isinstance(kind, ast.JoinedStr) and "what" in names:
                prefix = "".join(str(part.value) for part in kind.values if isinstance(part, ast.Constant))
                ends = _constants(_calls(tree, function.name), names.index("what"))
                found |= {prefix + end for end in ends}
    return found


def _calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node


def _constants(calls: Iterator[ast.Call], position: int) -> Iterator[str]:
    for call in calls:
        named = [keyword.value for keyword in call.keywords if keyword.arg == "what"]
        given = named or call.args[position : position + 1]
        for value in given:
            choices = (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,)
            yield from (str(each.value) for each in choices if isinstance(each, ast.Constant))


GENERATED = {"cli": cli_reference, "errors": errors_reference}


def with_generated(text: str) -> str:
    """Return a page's text with its generated parts written anew."""

    def fresh(match: re.Match[str]) -> str:
        return f"<!-- generated: {match[1]} -->\n\n{GENERATED[match[1]]()}\n\n<!-- end -->"

    return re.sub(r"<!-- generated: (\w+) -->.*?<!-- end -->", fresh, text, flags=re.DOTALL)


def reference_pages() -> list[Path]:
    """Return the reference pages of all languages."""
    return [path for language in LANGUAGES for path in sorted((ROOT / "docs" / language / "reference").glob("*.md"))]


def write_reference() -> None:
    """Write the generated parts of all reference pages."""
    for path in reference_pages():
        text = path.read_text()
        fresh = with_generated(text)
        if fresh != text:
            path.write_text(fresh)
            print(f"wrote {path.relative_to(ROOT)}")


def build() -> None:
    """Build the site of each language into docs/site/. Raises SystemExit when a build fails."""
    for language in LANGUAGES:
        command = [str(Path(sys.executable).parent / "zensical"), "build", "--clean", "--strict", "--config-file"]
        done = subprocess.run([*command, str(ROOT / "docs" / f"zensical.{language}.toml")], cwd=ROOT, check=False)
        if done.returncode != 0:
            raise SystemExit(f"error: the documentation in {language} could not be built")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["build", "reference"])
    {"build": build, "reference": write_reference}[parser.parse_args().action]()


if __name__ == "__main__":
    main()
