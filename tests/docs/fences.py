"""Runs the fences of a documentation page: console blocks as commands, python blocks in one lasting interpreter.

A page is one session: its own data directory, its own free port in place of 5000, and everything stopped at the end.
A fence that is not to be run is marked as `text`.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sybil import Document, Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

from tests import components

ROOT = Path(__file__).resolve().parent.parent.parent
_TIMEOUT_S = 60

# Reads sources from standard input, each ended by a line with NUL, and runs them in one namespace.
_DRIVER = """
import sys, traceback
space, lines = {"__name__": "__main__"}, []
for line in sys.stdin:
    if line != "\\0\\n":
        lines.append(line)
        continue
    try:
        exec(compile("".join(lines), "fence", "exec"), space)
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        print("\\0failed", flush=True)
    else:
        print("\\0done", flush=True)
    lines = []
"""


class Session:
    """What the fences of one page share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = components.free_port()
        self.environment = dict(os.environ)
        self.environment |= {"MLWRIGHT_DATA": str(folder / "data"), "HOME": str(folder), "NO_COLOR": "1"}
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._interpreter: subprocess.Popen[str] | None = None

    def localize(self, text: str) -> str:
        """Put this session's port in place of the default one, also where a command leaves it out."""
        text = re.sub(r"\b5000\b", str(self.port), text)
        return re.sub(r"^mlwright up(?!.*--port)", f"mlwright up --port {self.port}", text)

    def console(self, block: str) -> None:
        """Run each command of a block and compare what it prints with what stands below it.

        `...` stands for anything. A command must exit with 0, unless an error is what the page shows.
        """
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            shown = self.localize(expected).strip()
            done = subprocess.run(
                self.localize(command), shell=True, text=True, env=self.environment, cwd=self.folder,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_TIMEOUT_S, check=False,
            )  # fmt: skip
            pattern = re.escape(shown).replace(re.escape("..."), ".*")
            assert re.fullmatch(pattern, done.stdout.strip(), re.DOTALL), f"$ {command}\n{done.stdout}\nnot:\n{shown}"
            assert (done.returncode != 0) == shown.startswith("error:"), f"$ {command} exited {done.returncode}"

    def python(self, source: str) -> None:
        """Run a source text in the page's interpreter: one with MLflow, as mlwright's own has none."""
        if self._interpreter is None:
            command = [str(components.mlflow_python("3.17.2")), "-W", "error::DeprecationWarning:fence", "-c", _DRIVER]
            environment = self.environment | components.mlflow_environment(HOME=str(self.folder))
            self._interpreter = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True, env=environment, cwd=self.folder,
            )  # fmt: skip
        assert self._interpreter.stdin is not None
        assert self._interpreter.stdout is not None
        self._interpreter.stdin.write(f"{self.localize(source)}\n\0\n")
        self._interpreter.stdin.flush()
        printed = ""
        for line in self._interpreter.stdout:
            if line == "\0done\n":
                return
            assert line != "\0failed\n", f"{source}\n{printed}"
            printed += line
        raise AssertionError(f"the interpreter ended:\n{printed}")

    def close(self) -> None:
        """Stop the interpreter, and the platform if a page left it running."""
        if self._interpreter is not None:
            assert self._interpreter.stdin is not None
            assert self._interpreter.stdout is not None
            self._interpreter.stdin.close()
            components.stop(self._interpreter)
            self._interpreter.stdout.close()
        command = [str(Path(sys.executable).parent / "mlwright"), "down"]
        subprocess.run(command, env=self.environment, stdout=subprocess.DEVNULL, timeout=_TIMEOUT_S, check=False)


def parse(page: Path) -> Document:
    """Return a page's runnable fences; each is evaluated with a `session` in the document's namespace."""

    def console(example: Example) -> None:
        example.namespace["session"].console(example.parsed)

    def python(example: Example) -> None:
        example.namespace["session"].python(example.parsed)

    parsers = [CodeBlockParser("console", console), CodeBlockParser("python", python)]
    return Sybil(parsers=parsers, patterns=["*.md"], path=str(page.parent)).parse(page)


@contextlib.contextmanager
def session(folder: Path) -> Iterator[Session]:
    """A session that is closed at the end of the block."""
    opened = Session(folder)
    try:
        yield opened
    finally:
        opened.close()


def run_page(page: Path, folder: Path) -> int:
    """Run all fences of a page in order; return how many there were."""
    document = parse(page)
    examples = list(document.examples())
    with session(folder) as opened:
        document.namespace["session"] = opened
        for example in examples:
            example.evaluate()
    return len(examples)
