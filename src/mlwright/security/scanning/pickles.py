"""Decides about a file or member that is, or may be, a pickle: all pickles in it, and what lies between and behind.

A file does not say by which loader it will be read, so that all of them must find nothing: `pickle.load`, once or in a
row; `joblib.load`, which reads the bytes of arrays beside the opcodes; `torch.load` of old files, with storages behind
the fifth pickle.
"""

from __future__ import annotations

import _compat_pickle
import contextlib
import itertools
import math
import re
import sys

import msgspec

from mlwright.security.scanning.allow import allow_list
from mlwright.security.scanning.limits import Budget, OverBudgetError, RefusedError, TruncatedError
from mlwright.security.scanning.machine import Machine
from mlwright.security.scanning.opcodes import OPCODES
from mlwright.security.scanning.spec import Finding
from mlwright.security.scanning.streams import Source, Stream, fixed
from mlwright.security.scanning.values import Made, pickled_item_type

#: The first byte of protocol 2 and later.
PROTO = 0x80
#: A zip looks like a pickle that asks for an object by name first; no loader of pickles has such an object.
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_FIRST_BYTES = frozenset(byte for byte, known in enumerate(OPCODES) if known is not None)
#: Modules that every loader can import, with their names in Python 2.
_MODULES = (
    sys.stdlib_module_names | _compat_pickle.IMPORT_MAPPING.keys() | {old for old, _ in _compat_pickle.NAME_MAPPING}
)
#: What is wrong with a stream, rather than with what it names.
_NAMED_RULES = {"pickle-global", "pickle-code", "pickle-extension"}
_FORM_RULES = {"pickle-malformed", "pickle-trailing", "array-malformed", "pickle-limits"}

#: Where pickles begin, and how far after the last good one they are looked for.
_STARTS = re.compile(rb"\x80[\x02-\x05][\x80-\xff(cX\]}]")
_HIDDEN = 1 << 20
_MAX_HIDDEN = 20

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_TORCH_PICKLES = 5
_STORAGE_SIZES = {
    "ByteStorage": 1, "CharStorage": 1, "BoolStorage": 1, "UntypedStorage": 1, "QInt8Storage": 1, "QUInt8Storage": 1,
    "QUInt4x2Storage": 1, "QUInt2x4Storage": 1, "ShortStorage": 2, "HalfStorage": 2, "BFloat16Storage": 2,
    "IntStorage": 4, "FloatStorage": 4, "QInt32Storage": 4, "LongStorage": 8, "DoubleStorage": 8,
    "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16,
}  # fmt: skip


class PickleScan(msgspec.Struct, frozen=True):
    """What was found; `count` pickles came to their end."""

    findings: tuple[Finding, ...]
    count: int


class _Walk:
    """One way to read a stream: with or without joblib's arrays."""

    def __init__(self, stream: Stream, member: str, budget: Budget, *, arrays: bool) -> None:
        self.arrays = 0
        self._stream = stream
        self._member = member
        self._budget = budget
        self._inner: list[Finding] = []
        self.failure: RefusedError | None = None
        self.first_stop = 0
        self.machine = self._machine(arrays=arrays)

    def _machine(self, *, arrays: bool) -> Machine:
        limits = self._budget.limits
        return Machine(
            self._stream, self._member, OPCODES, values=limits.values, most=limits.findings,
            array=self._read_array if arrays else None,
        )  # fmt: skip

    @property
    def findings(self) -> list[Finding]:
        """What was found, and why the walk ended early if it did."""
        ended = [self.failure.finding(self._member)] if self.failure is not None else []
        return [*self.machine.findings, *self._inner, *ended]

    def run(self) -> None:
        """Walk all pickles. Raises OverBudgetError."""
        try:
            self._all()
        except OverBudgetError:
            raise
        except RefusedError as error:
            self.failure = error
            if error.rule == "pickle-trailing":
                self.seek_hidden()

    def _all(self) -> None:
        machine, old_torch = self.machine, False
        while True:
            start = self._stream.offset
            try:
                machine.walk()
            except RefusedError as error:
                if isinstance(error, TruncatedError):
                    error.rule = "pickle-malformed"
                if machine.stops and error.rule == "pickle-malformed":
                    message = f"after {machine.stops} pickle(s) come bytes that are none"
                    raise RefusedError("pickle-trailing", message, offset=start) from error
                raise
            self.first_stop = self.first_stop or self._stream.offset
            old_torch |= machine.stops == 1 and machine.result == _TORCH_MAGIC
            if old_torch and machine.stops == _TORCH_PICKLES:
                self._pass_storages()
            if self._stream.at_end():
                return

    def seek_hidden(self) -> None:
        """After bytes that are no pickle, look for pickles all the same, so that the report can name what they do."""
        found: list[Finding] = []
        for start in itertools.islice(_STARTS.finditer(self._stream.peek(_HIDDEN)), _MAX_HIDDEN):
            with contextlib.suppress(RefusedError):
                hidden = _Walk(
                    fixed(self._stream.buf[self._stream.pos + start.start() :]),
                    self._member,
                    self._budget,
                    arrays=False,
                )
                try:
                    hidden.machine.walk()
                finally:
                    found += hidden.machine.findings
        self._inner += found[: self._budget.limits.findings]

    def _pass_storages(self) -> None:
        """The bytes of all tensors, each with its length before it, as PyTorch wrote them before 1.6."""
        sizes = {key: (_STORAGE_SIZES.get(kind, 0), count) for kind, key, count in self.machine.persistent}
        if any(not size or count < 0 for size, count in sizes.values()):
            raise RefusedError("array-malformed", "the lengths of tensors cannot be told", offset=self._stream.offset)
        try:
            self._stream.skip(sum(8 + size * count for size, count in sizes.values()))
        except TruncatedError as error:
            raise RefusedError("array-malformed", "tensors are missing at the end", offset=error.offset) from error
        if not self._stream.at_end():
            raise RefusedError("pickle-trailing", "bytes follow the tensors", offset=self._stream.offset)

    def _read_array(self, machine: Machine, wrapper: Made) -> None:
        """Pass over the array that joblib puts behind its description."""
        self.arrays += 1
        if self._stream.offset < machine.frame_end:
            raise RefusedError("array-malformed", "an array begins inside of a frame", offset=machine.at)
        state = wrapper.state
        shape = state.get(b"shape") if isinstance(state, dict) else None
        if not isinstance(state, dict) or not isinstance(shape, tuple):
            raise RefusedError("array-malformed", "the shape of an array cannot be told", offset=machine.at)
        sides = [side for side in shape if isinstance(side, int) and side >= 0]
        if len(sides) != len(shape):
            raise RefusedError("array-malformed", "the shape of an array cannot be told", offset=machine.at)
        item = pickled_item_type(state.get(b"dtype"))
        if item.has_objects:
            inner = self._machine(arrays=False)
            try:
                inner.walk()
            finally:
                self._inner += inner.findings
            return
        if b"numpy_array_alignment_bytes" in state:
            self._stream.skip(self._stream.read(1)[0])
        self._stream.skip(math.prod(sides) * item.size)


def may_be_pickle(head: bytes) -> bool:
    """True when the first byte is an opcode, and it is no zip."""
    return bool(head) and head[0] in _FIRST_BYTES and not head.startswith(_ZIP)


def scan_pickle(source: Source, member: str, budget: Budget, *, certain: bool) -> PickleScan | None:
    """Decide about a pickle.

    Args:
        source: where its bytes come from; it may be read twice.
        member: its name in the findings.
        budget: what the scan may still take.
        certain: it is a pickle by its place or first byte; else it must look like one, as texts may begin with opcodes.

    Returns:
        what was found; None when it is no pickle.

    Raises:
        OverBudgetError: a limit of the whole file is reached.
    """
    with source.open() as stream:
        walk = _Walk(stream, member, budget, arrays=True)
        walk.run()
    if not certain and walk.failure is not None and not _would_act(walk):
        return None
    findings = walk.findings
    if walk.arrays:
        with source.open() as stream:
            plain = _Walk(stream, member, budget, arrays=False)
            plain.run()
        seen = {(each.rule, each.offset) for each in findings}
        acts = (each for each in plain.findings if _counts(each, plain.first_stop))
        findings += [each for each in acts if (each.rule, each.offset) not in seen]
    return PickleScan(tuple(findings), walk.machine.stops)


def _counts(found: Finding, first_stop: int) -> bool:
    """True when it matters though joblib, for which the file was made, would not come to it.

    Behind the end of the first pickle, what is walked are the middles of others: what they compute means nothing.
    """
    if found.rule in _FORM_RULES:
        return False
    return not first_stop or found.offset < first_stop or found.rule in _NAMED_RULES


def _would_act(walk: _Walk) -> bool:
    """True when a loader would import or call something before it fails; a text that looks like opcodes does not."""
    machine = walk.machine
    imports = [each.target for each in machine.findings if each.rule != "pickle-persistent"]
    if machine.calls or (imports and (machine.stops or isinstance(walk.failure, TruncatedError))):
        return True
    return any(map(_is_importable, imports))


def _is_importable(target: str) -> bool:
    package = target.partition(".")[0]
    return package in _MODULES or package.encode() in allow_list().packages
