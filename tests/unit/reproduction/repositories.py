"""Real git repositories for tests."""

import subprocess
from pathlib import Path

_IDENTITY = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false"]


def git(folder: Path, *words: str) -> str:
    """Run git there with an identity of its own."""
    return subprocess.run(["git", *_IDENTITY, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def repository(folder: Path, **files: str) -> str:
    """Make one with a commit of these files (`__` stands for a slash, `_py` at the end for .py). Returns the commit."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q")
    for name, text in files.items():
        path = folder / (name.removesuffix("_py").replace("__", "/") + ".py" * name.endswith("_py"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return git(folder, "rev-parse", "HEAD").strip()
