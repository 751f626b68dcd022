"""What a run needs to be repeated: code version, interpreter, libraries, platform, command and data.

`capture` reads it once; the tags and the files are then put on every run.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = "environment"
DIFF_LIMIT = 1_000_000  # bytes of diff kept; more is cut, and the cut is said in the file
GIT_SECONDS = 10


@dataclass(frozen=True)
class Capture:
    """`tags` for the run; `files` are texts by name, for the artifact folder `environment/`."""

    tags: Mapping[str, str]
    files: Mapping[str, str]

    def write(self, folder: Path) -> int:
        """Write the files below `folder`/environment and return their number."""
        target = folder / FOLDER
        target.mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            (target / name).write_text(text, encoding="utf-8")
        return len(self.files)


def capture(repository: Path, data: Mapping[str, str], command: Sequence[str] | None = None) -> Capture:
    """Describe this process, the code in `repository`, and the data (digest by file name).

    Outside git, or without git installed, the code tags are left out and `dirty.diff` is empty.
    """
    words = list(sys.orig_argv if command is None else command)
    line = shlex.join([Path(words[0]).name, *words[1:]]) if words else ""
    tags = {"mlwright.python": platform.python_version(), "mlwright.platform": platform.platform()}
    tags["mlwright.command"] = line
    commit, diff = code_version(repository)
    if commit is not None:
        tags |= {"mlwright.git.commit": commit, "mlwright.git.dirty": "true" if diff else "false"}
    environment = {
        "python": {"version": sys.version, "implementation": platform.python_implementation()},
        "platform": {
            "system": platform.platform(),
            "machine": platform.machine(),
            "libc": " ".join(platform.libc_ver()),
        },
        "command": line,
        "git": None if commit is None else {"commit": commit, "dirty": bool(diff)},
        "data": dict(data),
    }
    files = {
        "requirements.lock.txt": locked_distributions(),
        "dirty.diff": diff,
        "environment.json": json.dumps(environment, indent=2, ensure_ascii=False) + "\n",
    }
    return Capture(tags, files)


def locked_distributions() -> str:
    """Every installed distribution as `name==version`, one a line, sorted."""
    found: dict[str, str] = {}
    for item in importlib.metadata.distributions():
        # The first on the path is the one that is imported.
        found.setdefault(item.name.lower().replace("_", "-"), item.version)
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()))


def code_version(repository: Path) -> tuple[str | None, str]:
    """(commit, difference of the working tree to it); the difference is "" for a clean tree, commit None outside git.

    Untracked files are named in comment lines above the diff, which `git apply` skips.
    """
    commit = _git(repository, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None, ""
    untracked = (_git(repository, "ls-files", "--others", "--exclude-standard") or "").splitlines()
    named = "".join(f"# untracked: {path}\n" for path in untracked)
    diff = named + (_git(repository, "diff", "--no-color", "--no-ext-diff", "HEAD") or "")
    if len(diff) > DIFF_LIMIT:
        diff = diff[:DIFF_LIMIT] + f"\n# cut after {DIFF_LIMIT} characters\n"
    return commit.strip(), diff


def _git(repository: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(repository), *words],
            capture_output=True, timeout=GIT_SECONDS, check=True, encoding="utf-8", errors="replace",
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
