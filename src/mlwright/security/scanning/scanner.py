"""The scan: one file after the other, each looked into as deep as its containers go."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

from mlwright.security.scanning import arrays, hdf5, language_models, leaks, packed, tars, texts, zips
from mlwright.security.scanning.limits import Budget, Limits, OverBudgetError, RefusedError, TruncatedError
from mlwright.security.scanning.looking import Looker
from mlwright.security.scanning.pickles import PROTO, may_be_pickle, scan_pickle
from mlwright.security.scanning.rules import finding
from mlwright.security.scanning.sniff import HEAD, kind, opaque
from mlwright.security.scanning.spec import FileReport, Finding, Verdict
from mlwright.security.scanning.streams import Source, View

Reader = Callable[[Looker, Source, str, int], None]

_READERS: dict[str, Reader] = {
    "zip": zips.scan_zip,
    "tar": tars.scan_tar,
    "zfile": packed.scan_zfile,
    "npy": arrays.scan_npy,
    "safetensors": arrays.scan_safetensors,
    "hdf5": hdf5.scan_hdf5,
    "gguf": language_models.scan_gguf,
    "onnx": language_models.scan_onnx,
    "json": texts.scan_json,
    "text": texts.scan_text,
}
_PACKED = ("gzip", "bzip2", "xz", "lzma", "zlib")
#: Beginnings so long that no tensor has them by chance.
_STRONG_MAGIC = (b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh91AY&SY", b"\xfd7zXZ\x00", b"\x93NUMPY", b"\x89HDF\r\n")
#: Not searched for secrets: numbers, and what is searched part by part.
_OPENED = frozenset({*_PACKED, "zip", "tar", "zfile", "tensor"})
#: Readers that know what else could be seen in the same bytes; and numbers, in which anything may stand.
_CHECKED_BY_THEMSELVES = ("zip", "tar", "tensor")
#: Which rule is broken by what ends too early.
_DAMAGE = {"zip": "archive-malformed", "tar": "archive-malformed", "npy": "array-malformed"}
_HDF5 = b"\x89HDF\r\n\x1a\n"


class Inspector:
    """Looks into one file; see `looking.Looker`."""

    def __init__(self, budget: Budget, name: str) -> None:
        self.budget = budget
        self.name = name
        self.findings: list[Finding] = []
        self.leaks: list[Finding] = []

    def keep(self, found: Finding) -> None:
        """Keep a finding. Raises OverBudgetError when there are enough."""
        self.findings.append(found)
        if len(self.findings) >= self.budget.limits.findings:
            raise OverBudgetError(found.rule, "there are more findings than are listed", target=found.target)

    def note(self, rule: str, message: str, *, member: str, offset: int = -1, target: str = "") -> None:
        """Keep a finding. Raises OverBudgetError when there are enough."""
        self.keep(finding(rule, message, member=member, offset=offset, target=target))

    def look(self, source: Source, member: str, depth: int, *, role: str = "") -> str:
        """Look into a part; returns its kind. Raises OverBudgetError."""
        self.budget.enter()
        self.budget.check_depth(depth)
        try:
            with source.open() as stream:
                head = stream.peek(HEAD)
            name = self._look(source, head, member, depth, role)
        except OverBudgetError:
            raise
        except RefusedError as error:
            self.keep(error.finding(member))
            name = "damaged"
        if self.budget.limits.secrets and name not in _OPENED:
            self._look_for_secrets(source, member, name)
        return name

    def _look_for_secrets(self, source: Source, member: str, name: str) -> None:
        """They do not count as reasons not to look further: somebody may know of them, and of nothing else."""
        room = self.budget.limits.findings - len(self.leaks)
        try:
            self.leaks.extend(islice(leaks.leaks(source, member, name), max(room, 0)))
        except TruncatedError:
            return  # it was said already that the part is damaged

    def _look(self, source: Source, head: bytes, member: str, depth: int, role: str) -> str:
        name = self._kind(source, head, member, role)
        if name in _PACKED:
            packed.scan_packed(self, source, member, depth, name)
        elif name in _READERS:
            try:
                _READERS[name](self, source, member, depth)
            except TruncatedError as error:
                error.rule = _DAMAGE.get(name, error.rule)
                raise
        if name not in _CHECKED_BY_THEMSELVES and isinstance(source, View):
            _check_hidden(source, name)
        return name

    def _kind(self, source: Source, head: bytes, member: str, role: str) -> str:
        """What it is, after it was looked at as a pickle. Raises RefusedError for what nobody knows."""
        if may_be_pickle(head):
            certain = head[:1] == bytes([PROTO]) and role != "storage"
            found = scan_pickle(source, member, self.budget, certain=certain)
            for each in found.findings if found is not None else ():
                self.keep(each)
            if found is not None:
                return "pickle"
        if role == "storage" and not head.startswith(_STRONG_MAGIC):
            return "tensor"
        if packing := opaque(head):
            raise RefusedError("archive-opaque", f"it is packed as {packing}, which cannot be opened here")
        name = kind(head, source.size if isinstance(source, View) else None)
        if not name:
            raise RefusedError("format-unknown", "the content is in no known format")
        return name

    @contextmanager
    def seekable(self, source: Source) -> Iterator[View]:
        """The same bytes, readable anywhere. Raises OverBudgetError when they are too many for the disk."""
        if isinstance(source, View):
            yield source
            return
        limit = self.budget.limits.spool
        with source.open() as stream, tempfile.TemporaryFile(prefix="mlwright-scan-") as copy:
            length = 0
            for piece in stream.chunks():
                length += len(piece)
                if length > limit:
                    raise OverBudgetError("limit-expansion", f"an inner archive has more than {limit:,} bytes")
                copy.write(piece)
            copy.flush()
            yield View(copy.fileno(), 0, length, self.budget)


def _check_hidden(view: View, name: str) -> None:
    """Raises RefusedError when a reader that starts elsewhere would find another format in the same bytes."""
    if zips.zip_at_end(view) >= 0:
        raise RefusedError("archive-malformed", f"a zip archive hides behind content of the kind {name}")
    at = 512
    while name != "hdf5" and at < view.size:
        if view.at(at, len(_HDF5)) == _HDF5:
            raise RefusedError("archive-malformed", f"an HDF5 file hides behind content of the kind {name}", offset=at)
        at *= 2


def scan_open_file(file: int, path: str, size: int, limits: Limits) -> FileReport:
    """Scan an open regular file of that size. Its position is neither used nor changed; it raises nothing."""
    budget = Budget(limits, size)
    inspector = Inspector(budget, path.rpartition("/")[2])
    found_kind = "unknown"
    try:
        found_kind = inspector.look(View(file, 0, size, budget), "", 0)
    except OverBudgetError as error:
        inspector.findings.append(error.finding(""))
    except OSError as error:
        return unreadable(path, size, f"it cannot be read: {error.strerror}")
    # A defect of ours must not let a file through, nor end the scan of all others.
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        message = f"the scanner failed ({type(error).__name__} in {where.name}); please report it"
        inspector.findings.append(finding("format-malformed", message))
    return FileReport(
        path=path,
        size=size,
        kind=found_kind,
        verdict=Verdict.UNSAFE if inspector.findings or inspector.leaks else Verdict.SAFE,
        findings=(*inspector.findings, *inspector.leaks),
        members=budget.entries,
        unread=budget.unread,
    )


def scan_bytes(content: bytes, path: str, limits: Limits | None = None) -> FileReport:
    """Scan what is no file, such as a small artifact out of the database; it raises nothing.

    Args:
        content: all of it.
        path: what it is called in the report. MLflow's `MLmodel` is known by this name.
        limits: the usual ones when not given.
    """
    with tempfile.TemporaryFile(prefix="mlwright-scan-") as file:
        file.write(content)
        file.flush()
        return scan_open_file(file.fileno(), path, len(content), limits or Limits())


def unreadable(path: str, size: int, why: str) -> FileReport:
    """The report of something that could not be looked into."""
    problem = finding("file-unreadable", why)
    return FileReport(path=path, size=size, kind="unreadable", verdict=Verdict.UNREADABLE, findings=(problem,))
