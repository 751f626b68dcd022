"""What reproduction asks of git. Nothing that a run says is taken for an option, an address or a hook."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from mlwright.kernel.errors import Invalid, NotFound
from mlwright.security.scanning import files as scanning
from mlwright.security.scanning.limits import Limits

_SECONDS = 60
_CLONE_SECONDS = 600
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
#: Neither questions to the user, nor other ways of fetching, nor programs that a configuration names.
_VARIABLES = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "file:https:http:ssh", "LC_ALL": "C"}
_OPTIONS = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "advice.detachedHead=false")
#: Larger ones are named only.
MOST_FILE_BYTES = 1 << 20
MOST_DIFF_BYTES = 10 << 20


class Repository:
    """A working tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def around(cls, folder: Path) -> "Repository | None":
        """The one that a folder lies in; None when it lies in none, or git is not installed."""
        root = _try(folder, "rev-parse", "--show-toplevel")
        return cls(Path(root.strip())) if root else None

    @property
    def commit(self) -> str:
        """The one that is checked out; empty when there is none yet."""
        return (_try(self.folder, "rev-parse", "--verify", "HEAD") or "").strip()

    @property
    def origin(self) -> str:
        """Where it came from, without a password; empty when it has no such place."""
        return _public((_try(self.folder, "remote", "get-url", "origin") or "").strip())

    def has(self, commit: str) -> bool:
        """Whether it holds the commit."""
        return is_commit(commit) and _try(self.folder, "cat-file", "-e", f"{commit}^{{commit}}") is not None

    def changes(self) -> tuple[str, list[str]]:
        """(what differs from the commit, as a diff with new files; new files that are left out of it).

        Left out are those of more than a megabyte, and those in which secrets lie.
        """
        listed = (_try(self.folder, "ls-files", "-z", "--others", "--exclude-standard") or "").split("\0")
        new = [path for path in listed if path]
        kept = [path for path in new if self._may_be_kept(path)]
        with tempfile.TemporaryDirectory(prefix="mlwright-index-") as name:
            # A copy: the user's own stays as it is. Its time counts: git trusts files that are older than that.
            index = Path(name, "index")
            current = Path(_git(self.folder, "rev-parse", "--git-path", "index").strip())
            current = current if current.is_absolute() else self.folder / current
            if current.exists():
                shutil.copy2(current, index)
            own = {"GIT_INDEX_FILE": str(index), "GIT_LITERAL_PATHSPECS": "1"}
            for first in range(0, len(kept), 500):
                _git(self.folder, "add", "--intent-to-add", "--", *kept[first : first + 500], variables=own)
            diff = _git(self.folder, "diff", "--binary", "--no-color", "--no-ext-diff", "HEAD", variables=own)
        return diff, sorted(set(new) - set(kept))

    def check_out(self, commit: str, target: Path) -> None:
        """Put the files of a commit into a new clone. Raises NotFound."""
        _clone(["--shared", str(self.folder.resolve())], target)
        try:
            _git(target, "checkout", "--quiet", "--detach", commit, "--")
        except subprocess.SubprocessError as error:
            raise NotFound(f"commit {commit} cannot be checked out: {_said(error)}", path="commit") from error

    def apply(self, diff: str) -> str:
        """Apply a diff. Returns why it does not apply; empty when it does."""
        if not any(line.startswith("diff --git ") for line in diff.splitlines()):
            return ""
        try:
            _git(self.folder, "apply", "--whitespace=nowarn", "-", given=diff)
        except subprocess.SubprocessError as error:
            return _said(error)
        return ""

    def _may_be_kept(self, path: str) -> bool:
        file = self.folder / path
        if file.is_symlink() or not file.is_file() or file.stat().st_size > MOST_FILE_BYTES:
            return False
        found = scanning.scan_file(file, Limits(secrets=True))
        return not any(each.rule.startswith("secret-") for each in found.findings)


def is_commit(text: str) -> bool:
    """Whether it is the whole name of a commit."""
    return _COMMIT.fullmatch(text) is not None


def fetch(address: str, target: Path) -> Repository:
    """The repository in a folder or at an address, which is cloned to `target`. Raises NotFound, Invalid."""
    if Path(address).is_dir():
        found = Repository.around(Path(address))
        if found is None:
            raise NotFound(f"{address} is no git repository", path="--repository")
        return found
    if address.startswith("-"):
        raise Invalid(f"{address!r} is no repository", path="--repository")
    _clone([address], target)
    return Repository(target)


def _clone(source: list[str], target: Path) -> None:
    words = ["clone", "--quiet", "--no-checkout", "--template=", *source[:-1], "--", source[-1], str(target)]
    try:
        _git(target.parent, *words, seconds=_CLONE_SECONDS)
    except subprocess.SubprocessError as error:
        message = f"{_public(source[-1])} cannot be cloned: {_said(error)}"
        raise NotFound(message, path="--repository") from error


def _public(address: str) -> str:
    """An address without a password in it."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.scheme else address


def _git(
    folder: Path, *words: str, variables: dict[str, str] | None = None, given: str = "", seconds: float = _SECONDS
) -> str:
    done = subprocess.run(
        ["git", *_OPTIONS, *words],
        cwd=folder,
        env={**os.environ, **_VARIABLES, **(variables or {})},
        input=given.encode("utf-8", "surrogateescape"),
        capture_output=True,
        check=True,
        timeout=seconds,
    )
    return done.stdout.decode("utf-8", "surrogateescape")


def _try(folder: Path, *words: str) -> str | None:
    try:
        return _git(folder, *words)
    except (OSError, subprocess.SubprocessError):
        return None


def _said(error: subprocess.SubprocessError) -> str:
    """git's own words, in one line."""
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else b""
    return " ".join((said or b"").decode(errors="replace").split())[:500] or str(error)
