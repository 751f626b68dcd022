"""Walks the opcodes of a pickle with a stack of abstract values, and decides by the allow-list.

All protocols, and what is allowed is only what the pickles of data and models need: import a listed global, call a
listed callable, set the state of an object so made, fill lists, sets and dictionaries. What is imported or called
must stand in the stream; nothing computed counts. A stream that cannot be walked to its end is refused.

Frames (protocol 4) do not change which opcodes run, except where joblib reads array bytes beside its unpickler.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence

from mlwright.security.scanning.allow import CODE_MODULES, AllowList, Use, allow_list
from mlwright.security.scanning.limits import RefusedError
from mlwright.security.scanning.rules import finding
from mlwright.security.scanning.spec import Finding
from mlwright.security.scanning.streams import Stream
from mlwright.security.scanning.values import (
    DICT,
    LIST,
    MAX_KEPT,
    OPAQUE,
    SET,
    TUPLE,
    Global,
    Made,
    Value,
    flat,
    pickled_item_type,
)

#: Longer texts than this are no names.
_MAX_NAME = 255
_MAX_LINE = 4096
#: From so many entries on, the memo keeps of values what decisions need and no more.
_RICH_MEMO = 200_000
#: So many values lie on the stack before it is thinned out for the first time; the topmost stay as they are.
_RICH_STACK = 200_000
_RICH_TOP = 64
#: A mark takes as much memory as so many values.
_MARK_WEIGHT = 10
#: Texts that decisions about arrays need; codes of their types are short.
_KEPT = frozenset((b"storage", b"shape", b"dtype", b"numpy_array_alignment_bytes"))
_CODE_SIZE = 4
_MAX_STORAGES = 200_000
_MAX_ARRAYS = 1_000_000
#: Opcodes with at most this many bytes are walked without asking whether the window has them all.
_MARGIN = 300
#: A batch of numbers for a list or a dictionary: walked in one step.
_NUMBERS = re.compile(rb"\((?:G[\s\S]{8}|K[\s\S]|M[\s\S]{2}|J[\s\S]{4}|[N\x88\x89])++[eu]")
#: Length and value of BINFLOAT, NONE, NEWTRUE, NEWFALSE, EMPTY_DICT, EMPTY_LIST, EMPTY_TUPLE.
_CONSTANTS: dict[int, tuple[int, Value]] = {
    0x47: (9, OPAQUE), 0x4E: (1, OPAQUE), 0x88: (1, OPAQUE), 0x89: (1, OPAQUE),
    0x7D: (1, None), 0x5D: (1, LIST), 0x29: (1, ()),
}  # fmt: skip
#: BININT2 and BININT, with their length.
_INTEGERS = {0x4D: 3, 0x4A: 5}
#: APPENDS, SETITEMS.
_FILLERS = frozenset((0x65, 0x75))
_number4 = struct.Struct("<I").unpack_from
#: An opcode's name and what it does, by its byte.
Opcodes = Sequence["tuple[str, Callable[[Machine], object]] | None"]

_ARRAY_WRAPPER = (b"joblib.numpy_pickle", b"NumpyArrayWrapper")
_DTYPE = (b"numpy", b"dtype")
#: Functions that call what they are given, and where in their arguments it stands.
_CALLERS: dict[tuple[bytes, bytes], tuple[int, ...]] = {
    (b"copyreg", b"_reconstructor"): (1,),
    (b"copy_reg", b"_reconstructor"): (1,),
    (b"torch._tensor", b"_rebuild_from_type_v2"): (0,),
    (b"numpy.random._pickle", b"__bit_generator_ctor"): (0,),
    (b"numpy.random._pickle", b"__generator_ctor"): (0, 1),
    (b"numpy.random._pickle", b"__randomstate_ctor"): (0, 1),
}


class Machine:
    """Walks pickles of one stream.

    Attributes:
        findings: why it is refused.
        calls: how often something was called that may not be.
        stops: how many pickles came to their end.
        persistent: storages that the pickle takes from beside it, as PyTorch does: (type, key, count of items).
        result: what the last pickle makes.
    """

    def __init__(
        self,
        stream: Stream,
        member: str,
        opcodes: Opcodes,
        *,
        values: int,
        most: int,
        array: Callable[[Machine, Made], None] | None = None,
        allowed: AllowList | None = None,
    ) -> None:
        """`array` reads what joblib puts behind the description of an array; None walks on, as pickle does."""
        self.stream = stream
        self.member = member
        self.findings: list[Finding] = []
        self.calls = 0
        self.stops = 0
        self.persistent: list[tuple[str, str, int]] = []
        self.result: Value = OPAQUE
        self.frame_end = 0
        self.at = 0
        self.stack: list[Value] = []
        self.memo: list[Value] = []
        self._opcodes = opcodes
        self._values = values
        self._most = most
        self._array = array
        self._allowed = allowed or allow_list()
        self._globals: dict[tuple[bytes, bytes], Global] = {}
        self._marks: list[list[Value]] = []
        self._depth = 0
        self._arrays = 0
        self._thin_at = _RICH_STACK
        self._thin_marks = 0
        self._thin_done = 0
        self._sparse: dict[int, Value] = {}
        self._op = ""

    # --- the walk ---

    def walk(self) -> None:
        """Walk one pickle to its STOP. Raises RefusedError when that cannot be done."""
        self.stack, self.memo, self._marks, self._sparse, self._depth = [], [], [], {}, 0
        self._thin_at, self._thin_marks, self._thin_done = _RICH_STACK, 0, 0
        self.frame_end = self.stream.offset
        stops = self.stops
        while self.stops == stops:
            if self.stream.fill(_MARGIN) > _MARGIN:
                self._stride(stops)
            else:
                self._step()
            many = max(
                len(self.stack) + self._depth, len(self.memo) + len(self._sparse), _MARK_WEIGHT * len(self._marks)
            )
            if many > self._values:
                raise RefusedError("pickle-limits", f"more than {self._values:,} values at a time", offset=self.at)
            if len(self.stack) + self._depth > self._thin_at:
                self._thin_stack()

    def _stride(self, stops: int) -> None:
        """Walk what the window holds, the opcodes that are most of a big pickle without a call for each.

        Each branch does what the opcode's row in the table does, for the cases that cannot fail.
        """
        stream, memo, marks = self.stream, self.memo, self._marks
        buf, pos, stack = stream.buf, stream.pos, self.stack
        end = len(buf) - _MARGIN
        dense, rich = not self._sparse, len(memo) < _RICH_MEMO
        while pos < end:
            op = buf[pos]
            if op == 0x8C:  # SHORT_BINUNICODE
                stop = pos + 2 + buf[pos + 1]
                stack.append(buf[pos + 2 : stop])
                pos = stop
            elif op == 0x94 and dense and stack:  # MEMOIZE
                memo.append(stack[-1] if rich else self._thin(stack[-1]))
                pos += 1
            elif op == 0x68 and buf[pos + 1] < len(memo):  # BINGET
                stack.append(memo[buf[pos + 1]])
                pos += 2
            elif op == 0x4B:  # BININT1
                stack.append(buf[pos + 1])
                pos += 2
            elif op in _CONSTANTS:
                size, value = _CONSTANTS[op]
                stack.append({} if op == 0x7D else value)
                pos += size
            elif op == 0x28:  # MARK
                batch = _NUMBERS.match(buf, pos, end)
                if batch is not None and stack and fillable(stack[-1]):
                    pos = batch.end()
                    continue
                marks.append(stack)
                self._depth += len(stack) + 1
                self.stack = stack = []
                self._thin_done = 0
                pos += 1
            elif op in _FILLERS and marks and marks[-1] and fillable(marks[-1][-1]):
                if op == 0x75 and len(stack) <= 2 * MAX_KEPT:
                    keep_items(marks[-1][-1], stack)
                self.stack = stack = self._back()
                pos += 1
            elif op in _INTEGERS:
                stop = pos + _INTEGERS[op]
                stack.append(int.from_bytes(buf[pos + 1 : stop], "little", signed=op == 0x4A))
                pos = stop
            elif op == 0x85 and stack:  # TUPLE1
                stack[-1] = (flat(stack[-1]),)
                pos += 1
            elif op == 0x86 and len(stack) > 1:  # TUPLE2
                last = stack.pop()
                stack[-1] = (flat(stack[-1]), flat(last))
                pos += 1
            elif op == 0x71 and dense and stack and buf[pos + 1] == len(memo):  # BINPUT
                memo.append(stack[-1] if rich else self._thin(stack[-1]))
                pos += 2
            elif op == 0x72 and dense and stack and _number4(buf, pos + 1)[0] == len(memo):  # LONG_BINPUT
                memo.append(stack[-1] if rich else self._thin(stack[-1]))
                pos += 5
            elif op == 0x58 and _number4(buf, pos + 1)[0] <= _MAX_NAME:  # BINUNICODE
                stop = pos + 5 + _number4(buf, pos + 1)[0]
                stack.append(buf[pos + 5 : stop])
                pos = stop
            else:
                stream.pos = pos
                self._step()
                if stream.buf is not buf or self.stops != stops:
                    return
                pos, stack = stream.pos, self.stack
                dense = not self._sparse
        stream.pos = pos

    def _step(self) -> None:
        stream = self.stream
        if stream.pos >= len(stream.buf):
            stream.fill(1)
        self.at = stream.base + stream.pos
        op = stream.read(1)[0]
        known = self._opcodes[op]
        if known is None:
            raise self.malformed(f"byte 0x{op:02x} is no opcode")
        self._op = known[0]
        known[1](self)

    # --- what happened ---

    def malformed(self, message: str) -> RefusedError:
        """An error at the present opcode."""
        where = f"{self._op}@{self.at}" if self._op else ""
        return RefusedError("pickle-malformed", message, offset=self.at, opcodes=where)

    def note(self, rule: str, message: str, target: str = "") -> int:
        """Keep a finding at the present opcode; returns its index. Raises RefusedError when there are too many."""
        if len(self.findings) >= self._most:
            raise RefusedError(rule, f"{message} (and no further findings are listed)", offset=self.at, target=target)
        where = f"{self._op}@{self.at}"
        self.findings.append(finding(rule, message, member=self.member, offset=self.at, opcodes=where, target=target))
        return len(self.findings) - 1

    def _follow(self, index: int) -> None:
        """Write into a finding that the present opcode used what it is about."""
        old = self.findings[index]
        if len(old.opcodes) < _MAX_NAME:
            path = f"{old.opcodes} > {self._op}@{self.at}"
            self.findings[index] = finding(
                old.rule, old.message, member=old.member, offset=old.offset, opcodes=path, target=old.target
            )

    # --- globals and calls ---

    def take_global(self, module: Value, name: Value) -> Global:
        """The global of that name, with a finding when it is not allowed."""
        if not isinstance(module, bytes) or not isinstance(name, bytes):
            if not may_be_text(module) or not may_be_text(name):
                raise self.malformed("what it imports has a name that is no text")
            index = self.note("pickle-computed", "the name of what it imports is computed while loading")
            return Global(b"?", b"?", Use.NOTHING, index)
        known = self._globals.get((module, name))
        if known is None:
            use = self._allowed.use(module, name)
            known = Global(module, name, use)
            if use is Use.NOTHING:
                known.finding = self._refuse_global(known)
            if len(self._globals) < _MAX_LINE:
                self._globals[module, name] = known
        elif known.finding >= 0:
            self._follow(known.finding)
        return known

    def _refuse_global(self, found: Global) -> int:
        package = found.module.partition(b".")[0]
        if package in CODE_MODULES:
            return self.note("pickle-code", f"it carries code: {found.path} builds it when loaded", found.path)
        if b"." in found.name and self._allowed.use(found.module, found.name.partition(b".")[0]) is not Use.NOTHING:
            return self.note("pickle-global", f"{found.path} is reached through an allowed name", found.path)
        return self.note("pickle-global", f"{found.path} is not on the allow-list", found.path)

    def call(self, function: Value, args: Value, *, init: bool) -> Value:
        """What calling gives; `init` is False where a class is only made. Notes what may not be called."""
        if not isinstance(function, Global):
            self.calls += 1
            self.note("pickle-computed", "it calls something that was computed while loading")
            return OPAQUE
        if function.finding >= 0:
            self.calls += 1
            self._follow(function.finding)
        elif function.use is Use.NAME or (init and function.use is Use.MAKE):
            self.calls += 1
            how = "called" if function.use is Use.NAME else "called: only its state may be set"
            self.note("pickle-global", f"{function.path} may be named, not {how}", function.path)
        key = (function.module, function.name)
        if key in _CALLERS:
            self._call_given(args, _CALLERS[key])
        if key not in (_DTYPE, _ARRAY_WRAPPER):
            return function.made
        self._arrays += 1
        if self._arrays > _MAX_ARRAYS:
            raise RefusedError("pickle-limits", f"more than {_MAX_ARRAYS:,} arrays", offset=self.at)
        return Made(function, args)

    def _call_given(self, args: Value, places: tuple[int, ...]) -> None:
        """What a function calls of its arguments counts as called by the pickle."""
        if not isinstance(args, tuple):
            self.calls += 1
            self.note("pickle-computed", "it calls something that was computed while loading")
            return
        for given in (args[place] for place in places if place < len(args)):
            if isinstance(given, Global):
                self.call(given, (), init=True)
            elif isinstance(given, Made) and not given.origin.module.startswith(b"numpy.random."):
                self.calls += 1
                self.note("pickle-computed", "it has something called that was computed while loading")

    def keep_storage(self, kind: str, key: str, count: int) -> None:
        """Take note of numbers that lie beside the pickle. Raises RefusedError when they are too many."""
        self.persistent.append((kind, key, count))
        if len(self.persistent) > _MAX_STORAGES:
            raise RefusedError("pickle-limits", f"more than {_MAX_STORAGES:,} tensors", offset=self.at)

    def set_state(self, target: Value, state: Value) -> None:
        """BUILD: only objects that the pickle made may be changed."""
        if not isinstance(target, Made):
            self.calls += 1
            name = target.path if isinstance(target, Global) else ""
            self.note("pickle-mutation", f"it sets attributes of {name or 'something it did not make'}", name)
            return
        if target is target.origin.made:
            if target.origin.finding >= 0:
                self._follow(target.origin.finding)
            return
        target.state = state
        if (target.origin.module, target.origin.name) == _DTYPE and isinstance(target.args, tuple) and target.args:
            pickled_item_type(target)
        if (target.origin.module, target.origin.name) == _ARRAY_WRAPPER and self._array is not None:
            self._array(self, target)

    def check_fill(self, target: Value) -> None:
        """APPEND, SETITEM and the like: only containers and objects that the pickle made may be filled."""
        if not fillable(target):
            self.calls += 1
            name = target.path if isinstance(target, Global) else ""
            self.note("pickle-mutation", f"it fills {name or 'something that is no container'}", name)

    # --- stack and memo ---

    def push(self, value: Value) -> None:
        self.stack.append(value)

    def pop(self) -> Value:
        """Raises RefusedError when nothing is left above the last mark."""
        if not self.stack:
            raise self.malformed("it takes more from the stack than there is")
        return self.stack.pop()

    def top(self) -> Value:
        """Raises RefusedError when nothing is left above the last mark."""
        if not self.stack:
            raise self.malformed("it takes more from the stack than there is")
        return self.stack[-1]

    def mark(self) -> None:
        self._marks.append(self.stack)
        self._depth += len(self.stack) + 1
        self.stack = []
        self._thin_done = 0

    def pop_mark(self) -> list[Value]:
        """The values since the last mark. Raises RefusedError when there is none."""
        if not self._marks:
            raise self.malformed("a mark is missing")
        values, self.stack = self.stack, self._back()
        return values

    def _back(self) -> list[Value]:
        """The stack below the last mark, which is taken away."""
        below = self._marks.pop()
        self._depth -= len(below) + 1
        self._thin_marks = min(self._thin_marks, len(self._marks))
        self._thin_done = 0
        return below

    def pop_any(self) -> None:
        """POP: a value, or the mark if there is none above it."""
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def put(self, index: int) -> None:
        """Remember the topmost value. Raises RefusedError without one."""
        value = self.top()
        if len(self.memo) + len(self._sparse) >= _RICH_MEMO:
            value = self._thin(value)
        if 0 <= index < len(self.memo):
            self.memo[index] = value
        elif index == len(self.memo) and index not in self._sparse:
            self.memo.append(value)
        elif index >= 0:
            self._sparse[index] = value
        else:
            raise self.malformed("a memo has a negative number")

    def put_next(self) -> None:
        """MEMOIZE: the number is that of the values remembered so far."""
        self.put(len(self.memo) + len(self._sparse))

    def get(self, index: int) -> None:
        """Raises RefusedError for a number that nothing was put under."""
        if 0 <= index < len(self.memo):
            self.push(self.memo[index])
        elif index in self._sparse:
            self.push(self._sparse[index])
        else:
            raise self.malformed(f"there is nothing under {index} in the memo")

    def _thin(self, value: Value) -> Value:
        if isinstance(value, bytes):
            return value if len(value) <= _CODE_SIZE or value in self._allowed.words or value in _KEPT else OPAQUE
        if isinstance(value, tuple):
            return TUPLE
        if isinstance(value, dict):
            return DICT
        return OPAQUE if isinstance(value, int) else value

    def _thin_stack(self) -> None:
        """Keep of all values but the topmost what decisions need. What was thinned out before is passed over."""
        for values in self._marks[self._thin_marks :]:
            values[:] = map(self._thin, values)
        self._thin_marks = len(self._marks)
        done, top = min(self._thin_done, len(self.stack)), max(self._thin_done, len(self.stack) - _RICH_TOP)
        self.stack[done:top] = map(self._thin, self.stack[done:top])
        self._thin_done = top
        self._thin_at = len(self.stack) + self._depth + _RICH_STACK

    # --- arguments ---

    def number(self, form: str, size: int) -> int:
        """A number of that struct format."""
        return int(struct.unpack(form, self.stream.read(size))[0])

    def line(self) -> bytes:
        """A short line. Raises RefusedError for a long one."""
        found = self.stream.line(_MAX_LINE)
        if found is None:
            raise self.malformed(f"a line is longer than {_MAX_LINE:,} bytes")
        return found

    def text(self, length: int) -> Value:
        """A text of that length in bytes: kept when it can be a name, else passed over."""
        if length <= _MAX_NAME:
            return self.stream.read(length)
        self.skip(length)
        return OPAQUE

    def skip(self, length: int) -> None:
        """Pass over data. Raises RefusedError for a negative length."""
        if length < 0:
            raise self.malformed("a length is negative")
        self.stream.skip(length)


def may_be_text(value: Value) -> bool:
    """True for texts and what could turn out to be one; objects of the listed classes are none."""
    if isinstance(value, Made):
        return value.origin.use is not Use.MAKE
    return isinstance(value, bytes) or value is OPAQUE


def fillable(value: Value) -> bool:
    """True for what a pickle may put items into."""
    return value is LIST or value is SET or value is DICT or isinstance(value, dict | Made)


def kept_tuple(values: list[Value]) -> Value:
    """A tuple, if it is short."""
    return tuple(map(flat, values)) if len(values) <= MAX_KEPT else TUPLE


def keep_items(target: Value, items: list[Value]) -> None:
    """Keep the first items of a dictionary whose keys are texts."""
    if isinstance(target, dict):
        for key, value in zip(items[::2], items[1::2], strict=False):
            if len(target) >= MAX_KEPT:
                return
            if isinstance(key, bytes):
                target[key] = DICT if isinstance(value, dict) else flat(value)
