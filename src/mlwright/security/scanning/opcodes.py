"""What each opcode does to the machine: one row each, in the order of the protocol's own documentation."""

from __future__ import annotations

import codecs
import pickletools
from collections.abc import Callable

from mlwright.security.scanning.allow import Use
from mlwright.security.scanning.machine import Machine, Opcodes, keep_items, kept_tuple
from mlwright.security.scanning.values import LIST, OPAQUE, SET, TUPLE, Global, Value

Handler = Callable[[Machine], object]

_MAX_INT_DIGITS = 18
_MAX_STRING = 1024
_PROTOCOLS = 5


def _int_line(machine: Machine) -> None:
    line = machine.line().strip().rstrip(b"L")
    try:
        machine.push(int(line, 0) if 0 < len(line) <= _MAX_INT_DIGITS else OPAQUE)
    except ValueError:  # such as 007, which int() reads another way than the loader
        machine.push(OPAQUE)


def _string_line(machine: Machine) -> None:
    """A quoted text of protocol 0 with escapes."""
    line = machine.stream.line(_MAX_STRING)
    if line is None:
        machine.push(OPAQUE)
        return
    text = line.strip()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise machine.malformed("a string without quotes")
    try:
        machine.push(codecs.escape_decode(text[1:-1])[0])
    except ValueError:
        raise machine.malformed("a string with a wrong escape") from None


def _unicode_line(machine: Machine) -> None:
    line = machine.stream.line(_MAX_STRING)
    if line is None:
        machine.push(OPAQUE)
        return
    try:
        machine.push(line.decode("raw-unicode-escape").encode("utf-8", "surrogatepass"))
    except ValueError:
        raise machine.malformed("a text with a wrong escape") from None


def _float_line(machine: Machine) -> None:
    machine.line()
    machine.push(OPAQUE)


def _binary_float(machine: Machine) -> None:
    machine.stream.read(8)
    machine.push(OPAQUE)


def _skipped(form: str, size: int) -> Handler:
    """An opcode with a length and that many bytes, which are passed over."""

    def handler(machine: Machine) -> None:
        machine.skip(machine.number(form, size))
        machine.push(OPAQUE)

    return handler


def _text(form: str, size: int) -> Handler:
    def handler(machine: Machine) -> None:
        length = machine.number(form, size)
        if length < 0:
            raise machine.malformed("a length is negative")
        machine.push(machine.text(length))

    return handler


def _number(form: str, size: int) -> Handler:
    return lambda machine: machine.push(machine.number(form, size))


def _long1(machine: Machine) -> None:
    raw = machine.stream.read(machine.number("<B", 1))
    machine.push(int.from_bytes(raw, "little", signed=True) if len(raw) <= 16 else OPAQUE)


def _constant(value: Value) -> Handler:
    return lambda machine: machine.push(value)


def _tuple_of(count: int) -> Handler:
    def handler(machine: Machine) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.push(kept_tuple(values[::-1]))

    return handler


def _append(machine: Machine) -> None:
    machine.pop()
    machine.check_fill(machine.top())


def _extend(machine: Machine) -> None:
    machine.pop_mark()
    machine.check_fill(machine.top())


def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.check_fill(machine.top())
    keep_items(machine.top(), [key, value])


def _set_items(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.check_fill(machine.top())
    keep_items(machine.top(), items)


def _marked_dict(machine: Machine) -> None:
    items = machine.pop_mark()
    made: Value = {}
    keep_items(made, items)
    machine.push(made)


def _marked(value: Value) -> Handler:
    def handler(machine: Machine) -> None:
        machine.pop_mark()
        machine.push(value)

    return handler


def _global(machine: Machine) -> None:
    module = machine.line()
    machine.push(machine.take_global(module, machine.line()))


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.push(machine.take_global(module, name))


def _reduce(machine: Machine) -> None:
    args, function = machine.pop(), machine.pop()
    machine.push(machine.call(function, args, init=True))


def _inst(machine: Machine) -> None:
    module = machine.line()
    found = machine.take_global(module, machine.line())
    args = kept_tuple(machine.pop_mark())
    machine.push(machine.call(found, args, init=True))


def _obj(machine: Machine) -> None:
    values = machine.pop_mark()
    if not values:
        raise machine.malformed("a class is missing")
    machine.push(machine.call(values[0], kept_tuple(values[1:]), init=True))


def _newobj(machine: Machine) -> None:
    args, cls = machine.pop(), machine.pop()
    machine.push(machine.call(cls, args, init=False))


def _newobj_ex(machine: Machine) -> None:
    machine.pop()
    _newobj(machine)


def _build(machine: Machine) -> None:
    state = machine.pop()
    machine.set_state(machine.top(), state)


def _extension(size: int, form: str) -> Handler:
    def handler(machine: Machine) -> None:
        code = machine.number(form, size)
        index = machine.note("pickle-extension", f"it imports the extension with the code {code}", f"extension {code}")
        machine.push(Global(b"extension", str(code).encode(), Use.NOTHING, index))

    return handler


def _persistent(machine: Machine, key: Value) -> None:
    """PyTorch's storages are the one known use: ("storage", type, key, place, items)."""
    if isinstance(key, tuple) and len(key) >= 5 and key[0] == b"storage" and isinstance(key[1], Global):
        kind, name, count = key[1], key[2], key[4]
        if kind.module in (b"torch", b"torch.storage") and isinstance(name, bytes) and isinstance(count, int):
            machine.keep_storage(kind.name.decode("latin-1"), name.decode("latin-1"), count)
            machine.push(kind.made)
            return
    machine.note("pickle-persistent", "it asks its loader for an object from outside")
    machine.push(OPAQUE)


def _proto(machine: Machine) -> None:
    version = machine.number("<B", 1)
    if version > _PROTOCOLS:
        raise machine.malformed(f"protocol {version} does not exist")


def _frame(machine: Machine) -> None:
    length = machine.number("<Q", 8)
    machine.frame_end = machine.stream.offset + length


def _stop(machine: Machine) -> None:
    machine.result = machine.pop()
    machine.stops += 1


def _duplicate(machine: Machine) -> None:
    machine.push(machine.top())


def _get_line(machine: Machine) -> None:
    machine.get(_memo_number(machine))


def _put_line(machine: Machine) -> None:
    machine.put(_memo_number(machine))


def _memo_number(machine: Machine) -> int:
    try:
        return int(machine.line())
    except ValueError:
        raise machine.malformed("a memo has no number") from None


_TABLE: dict[str, Handler] = {
    "INT": _int_line,
    "BININT": _number("<i", 4),
    "BININT1": _number("<B", 1),
    "BININT2": _number("<H", 2),
    "LONG": _int_line,
    "LONG1": _long1,
    "LONG4": _skipped("<i", 4),
    "STRING": _string_line,
    "BINSTRING": _text("<i", 4),
    "SHORT_BINSTRING": _text("<B", 1),
    "BINBYTES": _skipped("<I", 4),
    "SHORT_BINBYTES": _skipped("<B", 1),
    "BINBYTES8": _skipped("<Q", 8),
    "BYTEARRAY8": _skipped("<Q", 8),
    "NEXT_BUFFER": _constant(OPAQUE),
    "READONLY_BUFFER": lambda machine: machine.top(),
    "NONE": _constant(OPAQUE),
    "NEWTRUE": _constant(OPAQUE),
    "NEWFALSE": _constant(OPAQUE),
    "UNICODE": _unicode_line,
    "SHORT_BINUNICODE": _text("<B", 1),
    "BINUNICODE": _text("<I", 4),
    "BINUNICODE8": _text("<Q", 8),
    "FLOAT": _float_line,
    "BINFLOAT": _binary_float,
    "EMPTY_LIST": _constant(LIST),
    "APPEND": _append,
    "APPENDS": _extend,
    "LIST": _marked(LIST),
    "EMPTY_TUPLE": _constant(()),
    "TUPLE": lambda machine: machine.push(kept_tuple(machine.pop_mark())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "EMPTY_DICT": lambda machine: machine.push({}),
    "DICT": _marked_dict,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "EMPTY_SET": _constant(SET),
    "ADDITEMS": _extend,
    "FROZENSET": _marked(TUPLE),
    "POP": Machine.pop_any,
    "DUP": _duplicate,
    "MARK": Machine.mark,
    "POP_MARK": Machine.pop_mark,
    "GET": _get_line,
    "BINGET": lambda machine: machine.get(machine.number("<B", 1)),
    "LONG_BINGET": lambda machine: machine.get(machine.number("<I", 4)),
    "PUT": _put_line,
    "BINPUT": lambda machine: machine.put(machine.number("<B", 1)),
    "LONG_BINPUT": lambda machine: machine.put(machine.number("<I", 4)),
    "MEMOIZE": Machine.put_next,
    "EXT1": _extension(1, "<B"),
    "EXT2": _extension(2, "<H"),
    "EXT4": _extension(4, "<i"),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": _build,
    "INST": _inst,
    "OBJ": _obj,
    "NEWOBJ": _newobj,
    "NEWOBJ_EX": _newobj_ex,
    "PROTO": _proto,
    "STOP": _stop,
    "FRAME": _frame,
    "PERSID": lambda machine: _persistent(machine, machine.line()),
    "BINPERSID": lambda machine: _persistent(machine, machine.pop()),
}


def _by_byte() -> Opcodes:
    table: list[tuple[str, Handler] | None] = [None] * 256
    for opcode in pickletools.opcodes:
        table[ord(opcode.code)] = (opcode.name, _TABLE[opcode.name])
    return table


OPCODES = _by_byte()
