"""The schema of a skops file: nested JSON in which each node names its module and class."""

from __future__ import annotations

from mlwright.security.scanning.allow import Use, allow_list
from mlwright.security.scanning.looking import Looker

_NAMES = ("__class__", "__module__", "__loader__")
#: Nodes that import by the names in their content, and others with code in them.
_NOT_ALLOWED = frozenset(("MethodNode", "OperatorFuncNode", "ReduceNode"))
_PRIMITIVES = frozenset(("str", "int", "float", "bool", "NoneType", "type", "ellipsis"))


def is_skops(document: object) -> bool:
    """True when the outermost node names its class as skops does."""
    return isinstance(document, dict) and all(name in document for name in _NAMES)


def scan_schema(looker: Looker, document: object, member: str) -> None:
    """Note every node whose class is not on the allow-list of pickles."""
    waiting = [document]
    while waiting:
        here = waiting.pop()
        if isinstance(here, list):
            waiting += here
        if not isinstance(here, dict):
            continue
        waiting += here.values()
        if "__class__" in here or "__module__" in here:
            _check(looker, here, member)


def _check(looker: Looker, node: dict[str, object], member: str) -> None:
    module, name, loader = (node.get(key) for key in ("__module__", "__class__", "__loader__"))
    content = node.get("content")
    if loader == "FunctionNode" and isinstance(content, dict):
        module, name = content.get("module_path"), content.get("function")
    label = f"{module}.{name}"
    known = isinstance(module, str) and isinstance(name, str)
    if known and module == "builtins" and name in _PRIMITIVES and loader != "TypeNode":
        return
    use = allow_list().use(str(module).encode(), str(name).encode()) if known else Use.NOTHING
    if use is Use.NOTHING:
        looker.note("skops-foreign", f"{label} is not on the allow-list", member=member, target=label)
    elif loader in _NOT_ALLOWED:
        looker.note("skops-foreign", f"{label} is reached by a {loader}", member=member, target=label)
