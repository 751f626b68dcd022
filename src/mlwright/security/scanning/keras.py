"""Keras' descriptions of models: nested JSON in which each object names its class.

Keras imports the named module and takes the named class or function out of it, so that both must be on a list, which
`keras.txt` holds: layers, losses, optimizers and the like that keep no code in their settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from mlwright.security.scanning.looking import Looker

_CODE_CLASSES = frozenset(("Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"))
#: What stands for values, not classes.
_VALUES = frozenset(
    ("__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__tuple__", "__slice__",
     "__typespec__", "CompositeTensor")
)  # fmt: skip
_PARTS = "layers|initializers|regularizers|constraints|activations|losses|metrics|optimizers|models|ops|dtype_policies"
_MODULE = re.compile(
    rf"(?:tf_)?keras(?:\.src|\.api|\._tf_keras\.keras)?(?:\.engine)?(?:\.(?:{_PARTS}|engine|core)(?:\.[a-z0-9_]+)*)?\Z"
)
_FUNCTION_MODULE = re.compile(r"keras(?:\.src)?\.(?:activations|losses|metrics|initializers|ops)(?:\.[a-z0-9_]+)*\Z")


@cache
def names() -> frozenset[str]:
    """The classes and functions of Keras that hold no code."""
    return frozenset((files(__package__) / "keras.txt").read_text(encoding="utf-8").split())


def is_keras(document: object) -> bool:
    """True for an object that names its class."""
    return any("class_name" in each for each in _objects(document))


def _objects(document: object) -> Iterator[dict[str, object]]:
    """All JSON objects, however deep."""
    waiting = [document]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            yield here
            waiting += here.values()
        elif isinstance(here, list):
            waiting += here


def scan_config(looker: Looker, document: object, member: str) -> None:
    """Note every object whose class is not on the list."""
    for each in _objects(document):
        if "class_name" not in each:
            continue
        name, module = each["class_name"], each.get("module")
        label = f"{module}.{name}" if module else str(name)
        if not isinstance(name, str):
            looker.note("keras-foreign", "a part of the model has a class without a name", member=member)
        elif name in _CODE_CLASSES:
            looker.note("keras-code", f"a part of the model is {name}: it holds code", member=member, target=label)
        elif name == "function":
            _check_function(looker, each, member)
        elif name in _VALUES:
            continue
        elif name not in names() or not _is_ours(module):
            message = f"a part of the model is {label}, which is not on the list of Keras' classes"
            looker.note("keras-foreign", message, member=member, target=label)
        _check_vocabulary(looker, each, label, member)


def _check_vocabulary(looker: Looker, described: dict[str, object], label: str, member: str) -> None:
    """Layers of texts read their words from a file or URL when they are given its name."""
    config = described.get("config")
    place = config.get("vocabulary") if isinstance(config, dict) else None
    if isinstance(place, str):
        looker.note("keras-foreign", f"{label} reads its words from {place!r}", member=member, target=label)


def _is_ours(module: object) -> bool:
    return module is None or (isinstance(module, str) and bool(_MODULE.match(module)))


def _check_function(looker: Looker, described: dict[str, object], member: str) -> None:
    module, name = described.get("module"), described.get("config")
    known = isinstance(name, str) and name in names()
    ours = module in (None, "builtins") or (isinstance(module, str) and _FUNCTION_MODULE.match(module))
    if not known or not ours:
        label = f"{module}.{name}"
        looker.note("keras-foreign", f"the model uses the function {label}", member=member, target=label)
