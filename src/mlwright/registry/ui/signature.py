"""A model's signature as tables: what goes in, what comes out, and its parameters."""

from collections.abc import Mapping

import msgspec

_DEEPEST = 12
_LONGEST = 400
_MOST = 2_000


class Field(msgspec.Struct, frozen=True):
    """A column or tensor. `required` is None where the signature does not say; `default` is of parameters."""

    name: str
    kind: str
    required: bool | None = None
    default: str = ""


class Signature(msgspec.Struct, frozen=True):
    """The parts that there are; `cut` says that there are more fields than are shown."""

    inputs: list[Field] = []
    outputs: list[Field] = []
    params: list[Field] = []
    cut: bool = False


def read(found: Mapping[str, object] | None) -> Signature | None:
    """The tables of a signature as it is kept in a version's facts; None when there is none."""
    if not found:
        return None
    parts = {name: found.get(name) for name in ("inputs", "outputs", "params")}
    listed = {name: part for name, part in parts.items() if isinstance(part, list)}
    fields = {name: [_field(each, at) for at, each in enumerate(part[:_MOST])] for name, part in listed.items()}
    return Signature(**fields, cut=any(len(part) > _MOST for part in listed.values()))


def _field(spec: object, at: int) -> Field:
    if not isinstance(spec, dict):
        return Field(str(at), str(spec)[:_LONGEST])
    name, required = spec.get("name"), spec.get("required")
    default = msgspec.json.encode(spec["default"]).decode() if "default" in spec else ""
    return Field(
        str(at) if name is None else str(name),
        _kind(spec, 0)[:_LONGEST],
        required if isinstance(required, bool) else None,
        default[:_LONGEST],
    )


def _kind(spec: object, depth: int) -> str:
    """The type in short: double, array(long), object{a: string, b?: double}, float32 (-1, 28, 28)."""
    if not isinstance(spec, dict):
        return str(spec)
    if depth > _DEEPEST:
        return "…"
    kind = str(spec.get("type", "?"))
    tensor = spec.get("tensor-spec")
    if isinstance(tensor, dict):
        return f"{tensor.get('dtype')} {_shape(tensor.get('shape'))}"
    if kind == "array":
        return f"array({_kind(spec.get('items'), depth + 1)})"
    if kind == "map":
        return f"map({_kind(spec.get('values'), depth + 1)})"
    properties = spec.get("properties")
    if kind == "object" and isinstance(properties, dict):
        return f"object{{{', '.join(_property(*pair, depth) for pair in properties.items())}}}"
    shape = spec.get("shape")
    return f"{kind} {_shape(shape)}" if shape else kind


def _property(name: object, spec: object, depth: int) -> str:
    optional = isinstance(spec, dict) and spec.get("required") is False
    return f"{name}{'?' if optional else ''}: {_kind(spec, depth + 1)}"


def _shape(shape: object) -> str:
    return f"({', '.join(map(str, shape))})" if isinstance(shape, list) else str(shape)
