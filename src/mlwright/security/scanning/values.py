"""What the opcode machine knows about values. Texts are `bytes`, whole numbers `int`, short tuples `tuple`."""

from __future__ import annotations

import re

from mlwright.security.scanning.allow import Use
from mlwright.security.scanning.limits import RefusedError

# What is known by its kind alone. Nothing that Python's garbage collector would have to follow: there may be millions.
OPAQUE = None
LIST = "list"
SET = "set"
TUPLE = "tuple"
DICT = "dict"

#: How many keys of a dictionary, and values of a tuple, are kept: enough for the state of an array.
MAX_KEPT = 16


class Global:
    """Something imported by name.

    Attributes:
        made: what stands for all objects that came from calling it.
        finding: index of the finding about it; -1 for an allowed one.
    """

    __slots__ = ("finding", "made", "module", "name", "use")

    def __init__(self, module: bytes, name: bytes, use: Use, finding: int = -1) -> None:
        self.module = module
        self.name = name
        self.use = use
        self.finding = finding
        self.made = Made(self)

    @property
    def path(self) -> str:
        """The name as people write it."""
        return f"{shown(self.module)}.{shown(self.name)}"


class Made:
    """An object that came from calling a global; `args` and `state` are kept for arrays only."""

    __slots__ = ("args", "origin", "state")

    def __init__(self, origin: Global, args: object = None) -> None:
        self.origin = origin
        self.args = args
        self.state: object = None


Value = object


def flat(value: Value) -> Value:
    """The value, without what is nested in it deeper than decisions look: else a short file could fill the memory."""
    if type(value) is tuple:
        for inner in value:
            if type(inner) is tuple or type(inner) is dict:
                return TUPLE
    return value


def shown(name: bytes) -> str:
    """A name as text; what is no UTF-8 is escaped."""
    text = name.decode("utf-8", "backslashreplace")
    return text if len(text) <= 200 else f"{text[:200]}…"


# --- numpy's types, as far as lengths need them ---

_SIMPLE = re.compile(r"[<>|=]?([?bBhHiIlLqQefdgFDGOSUVacMmu])(\d*)(\[.*\])?\Z")
_LETTER_SIZES = {
    "?": 1, "b": 1, "B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "l": 8, "L": 8, "q": 8, "Q": 8,
    "e": 2, "f": 4, "d": 8, "g": 16, "F": 8, "D": 16, "G": 32, "M": 8, "m": 8, "O": 8,
}  # fmt: skip
_HAS_OBJECTS = 1  # NPY_ITEM_REFCOUNT


class ItemType:
    """How many bytes an item of an array takes, and whether it holds Python objects."""

    __slots__ = ("has_objects", "size")

    def __init__(self, size: int, has_objects: bool) -> None:
        self.size = size
        self.has_objects = has_objects


def item_type(text: str) -> ItemType:
    """The item type of a code such as "<f8". Raises RefusedError for one that is not known."""
    found = _SIMPLE.match(text)
    if found is None:
        raise RefusedError("array-malformed", f"an array has the unknown type {text[:60]!r}")
    letter, digits = found[1], found[2]
    if letter == "O":
        return ItemType(8, True)
    if letter in "SaV":
        return ItemType(int(digits or 0), False)
    if letter == "U":
        return ItemType(4 * int(digits or 0), False)
    if digits:
        return ItemType(int(digits), False)
    if letter not in _LETTER_SIZES:
        raise RefusedError("array-malformed", f"an array has the unknown type {text[:60]!r}")
    return ItemType(_LETTER_SIZES[letter], False)


def pickled_item_type(value: Value, depth: int = 0) -> ItemType:
    """The item type of a pickled numpy.dtype. Raises RefusedError when it is unknown or contradicts itself."""
    args = value.args if isinstance(value, Made) and value.origin.name == b"dtype" else None
    state = value.state if isinstance(value, Made) else None
    if not isinstance(args, tuple) or not args or depth > 8:
        raise RefusedError("array-malformed", "the type of an array cannot be told")
    if isinstance(args[0], Global) and isinstance(state, tuple) and len(state) > 5 and isinstance(state[5], int):
        found = ItemType(state[5], False)  # such as numpy.record, which has a size only together with its fields
    elif isinstance(args[0], bytes):
        found = item_type(args[0].decode("latin-1"))
    else:
        raise RefusedError("array-malformed", "the type of an array cannot be told")
    if not isinstance(state, tuple) or len(state) < 8:
        return found
    subarray, fields, size, flags = state[2], state[4], state[5], state[7]
    objects = found.has_objects
    if isinstance(fields, dict):
        for field in fields.values():
            objects |= isinstance(field, tuple) and bool(field) and pickled_item_type(field[0], depth + 1).has_objects
        objects |= len(fields) >= MAX_KEPT
    if isinstance(subarray, tuple) and subarray:
        objects |= pickled_item_type(subarray[0], depth + 1).has_objects
    if not isinstance(flags, int) or not isinstance(size, int):
        raise RefusedError("array-malformed", "the type of an array cannot be told")
    if size not in (-1, found.size):
        raise RefusedError("array-malformed", "the type of an array announces two sizes")
    if objects != bool(flags & _HAS_OBJECTS) and not (isinstance(fields, dict) and len(fields) >= MAX_KEPT):
        raise RefusedError("array-malformed", "the type of an array hides whether it holds Python objects")
    return ItemType(found.size, bool(flags & _HAS_OBJECTS) or objects)
