"""Which globals a pickle may name: the exact pairs of module and name in `allowed.txt`, and nothing else.

A line there is a module and its names. After "&", a pickle may refer to it, as to a function that a transformer
applies, and not call it. After "@", a pickle may also make an object of that class, without its `__init__`. Each name
was judged by one question: is it harmless with any arguments and any state, these names among them?
`tools/model_globals.py` writes the file from the real libraries.
"""

from collections.abc import Mapping
from enum import Enum
from functools import cache
from importlib.resources import files

#: What Python 2 called modules: a pickle of protocol 2 or older may use these names.
RENAMED: Mapping[bytes, bytes] = {b"__builtin__": b"builtins", b"copy_reg": b"copyreg"}

#: Whoever names these brings code, or what makes code out of bytes: refused with a reason of its own.
CODE_MODULES = frozenset(
    (b"cloudpickle", b"dill", b"types", b"marshal", b"code", b"codeop", b"__main__", b"__mp_main__", b"_cloudpickle")
)


class Use(Enum):
    """What a pickle may do with a global."""

    CALL = "call"
    MAKE = "make"
    NAME = "name"
    NOTHING = "nothing"


_MARKS = {"&": Use.NAME, "@": Use.MAKE}


class AllowList:
    """Exact globals, as UTF-8 bytes: so they stand in pickles."""

    def __init__(self, text: str) -> None:
        self.uses: dict[tuple[bytes, bytes], Use] = {}
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            for name in words[1:]:
                use = _MARKS.get(name[0], Use.CALL)
                self.uses[words[0].encode(), name.lstrip("&@").encode()] = use
        modules = {module for module, _ in self.uses}
        #: All texts that can be a part of an allowed global.
        self.words = frozenset(modules | {name for _, name in self.uses} | RENAMED.keys())
        self.packages = frozenset(module.partition(b".")[0] for module in modules)

    def use(self, module: bytes, name: bytes) -> Use:
        """What may be done with a global."""
        return self.uses.get((RENAMED.get(module, module), name), Use.NOTHING)


@cache
def allow_list() -> AllowList:
    """The list that comes with mlwright."""
    return AllowList((files(__package__) / "allowed.txt").read_text(encoding="utf-8"))
