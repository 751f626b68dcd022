"""Resources: declared things with a spec and a status, after Kubernetes' conventions, and the kinds they come in.

A kind is one msgspec struct for its spec. Validation with path and hint, `explain` and JSON Schema all come from it.
Kinds are collected in a `Kinds` object that is passed to whoever needs them; nothing registers itself.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.identity import Role
from mlwright.kernel.transaction import Tx

T = TypeVar("T")

API_VERSION = "mlwright.dev/v1"
MAX_ANNOTATIONS_BYTES = 256 << 10

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?\Z")
_LABEL_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


class OwnerReference(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The resource that this one belongs to."""

    kind: str
    name: str
    uid: str


class Condition(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """One aspect of a resource's state. `status` is True, False or Unknown; times are RFC 3339."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""
    observed_generation: int = 0


class Status(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """What controllers observed. `observed_generation` says which spec they had seen."""

    phase: str = ""
    conditions: list[Condition] = []
    observed_generation: int = 0


class Metadata(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """Name and bookkeeping of a resource. Only name, project, labels, annotations, owners and finalizers can be set.

    Attributes:
        generation: counts changes of the spec.
        resource_version: changes with every change; sent back, it guards against overwriting someone else's.
        creation_timestamp, deletion_timestamp: RFC 3339; the latter while finalizers hold the resource back.
    """

    name: str
    project: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None
    finalizers: list[str] | None = None
    creation_timestamp: str = ""
    deletion_timestamp: str = ""


class Manifest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A resource as someone declares it. A status is taken, so that what was read can be applied, and ignored."""

    api_version: str
    kind: str
    metadata: Metadata
    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}


class Resource(msgspec.Struct, frozen=True, rename="camel"):
    """A resource as it is stored; the spec holds every field, defaults included."""

    api_version: str
    kind: str
    metadata: Metadata
    spec: dict[str, Any]
    status: Status


class Kind(NamedTuple):
    """A kind of resources.

    Attributes:
        name: singular, in CamelCase.
        plural: lower case, as in commands and paths.
        spec: the struct of its spec, with defaults and descriptions, that forbids unknown fields.
        summary: one sentence.
        is_project: each resource is a project of its own name; only administrators of the server make and remove it.
        changed_by: the role in its project that is needed to make, change and remove one.
        before_save: called in the transaction that makes or changes one, with what it is to be; raises to refuse.
        before_delete: called in the transaction that removes a resource; raises to refuse, or cleans up.
    """

    name: str
    plural: str
    spec: type[msgspec.Struct]
    summary: str
    is_project: bool = False
    changed_by: Role = Role.EDITOR
    before_save: Callable[[Tx, Resource], None] | None = None
    before_delete: Callable[[Tx, Resource], None] | None = None

    def validated(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """The spec with its defaults. Raises Invalid with path and hint."""
        built = convert(dict(spec), self.spec, "spec")
        found: dict[str, Any] = msgspec.to_builtins(built)
        return found

    def schema(self) -> dict[str, Any]:
        """JSON Schema of a whole manifest of this kind."""
        (metadata, spec, status), components = msgspec.json.schema_components(
            [Metadata, self.spec, Status], ref_template="#/$defs/{name}"
        )
        return {
            "title": self.name,
            "description": self.summary,
            "type": "object",
            "required": ["apiVersion", "kind", "metadata"],
            "additionalProperties": False,
            "properties": {
                "apiVersion": {"const": API_VERSION},
                "kind": {"const": self.name},
                "metadata": metadata,
                "spec": spec,
                "status": status,
            },
            "$defs": components,
        }


class Kinds:
    """All kinds of a platform, found by singular or plural name in any case."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self._kinds = {kind.name: kind for kind in kinds}
        self._names = {name.lower(): kind for kind in kinds for name in (kind.name, kind.plural)}

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds.values())

    def find(self, name: str) -> Kind:
        """The kind called `name`. Raises NotFound with the nearest name."""
        kind = self._names.get(name.lower())
        if kind is None:
            hint = _nearest(name.lower(), self._names) or f"kinds are: {', '.join(self._kinds)}"
            raise NotFound(f"there is no kind {name!r}", path="kind", hint=hint)
        return kind

    def manifest(self, document: object) -> Manifest:
        """A decoded JSON or YAML document as a manifest of a known kind, its spec checked. Raises Invalid."""
        found = convert(document, Manifest, "")
        if found.api_version != API_VERSION:
            raise Invalid(f"unknown version {found.api_version!r}", path="apiVersion", hint=f"use {API_VERSION}")
        try:
            kind = self.find(found.kind)
        except NotFound as error:
            raise Invalid(error.message, path="kind", hint=error.hint) from None
        check_metadata(found.metadata)
        return msgspec.structs.replace(found, kind=kind.name, spec=kind.validated(found.spec))


class Explanation(msgspec.Struct, frozen=True):
    """What a field is: `fields` are those inside it, by name."""

    path: str
    type: str
    description: str
    required: bool
    default: Any
    fields: dict[str, str]


def explain(kind: Kind, path: str = "") -> Explanation:
    """Explain a field of a kind, for example "spec.description"; the kind as a whole when `path` is empty.

    Raises NotFound with the nearest name.
    """
    schema = kind.schema()
    place, required = schema, True
    for position, name in enumerate(path.split(".") if path else []):
        properties = _properties(schema, place)
        if name not in properties:
            above = ".".join([kind.name, *path.split(".")[:position]])
            known = ", ".join(properties) or "none"
            hint = _nearest(name, properties) or f"fields of {above}: {known}"
            raise NotFound(f"{above} has no field {name!r}", path=path, hint=hint)
        required = name in _resolved(schema, place).get("required", ())
        place = properties[name]
    fields = {name: _type_of(schema, each) for name, each in _properties(schema, place).items()}
    described = place.get("description") or _resolved(schema, place).get("description", "")
    shown = ".".join(filter(None, (kind.name, path)))
    return Explanation(shown, _type_of(schema, place), described, required, place.get("default"), fields)


def _resolved(schema: Mapping[str, Any], place: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a place in a schema leads to: references followed, lists and maps entered, null left out."""
    while True:
        if "$ref" in place:
            place = schema["$defs"][place["$ref"].rpartition("/")[2]]
        elif "anyOf" in place:
            place = next((each for each in place["anyOf"] if each.get("type") != "null"), {})
        elif place.get("type") == "array" and isinstance(place.get("items"), Mapping):
            place = place["items"]
        elif isinstance(place.get("additionalProperties"), Mapping) and not place.get("properties"):
            place = place["additionalProperties"]
        else:
            return place


def _properties(schema: Mapping[str, Any], place: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _resolved(schema, place).get("properties", {})
    return found


def _type_of(schema: Mapping[str, Any], place: Mapping[str, Any]) -> str:
    if "$ref" in place:
        return str(place["$ref"].rpartition("/")[2])
    if "anyOf" in place:
        return " or ".join(_type_of(schema, each) for each in place["anyOf"])
    if "const" in place:
        return f"{place['const']!r}"
    if "enum" in place:
        return " or ".join(f"{each!r}" for each in place["enum"])
    kind = str(place.get("type", "any"))
    if kind == "array" and isinstance(place.get("items"), Mapping):
        return f"list of {_type_of(schema, place['items'])}"
    if kind == "object" and isinstance(place.get("additionalProperties"), Mapping):
        return f"map of {_type_of(schema, place['additionalProperties'])}"
    return kind


def convert(value: object, kind: type[T], root: str) -> T:
    """`value`, as decoded from JSON or YAML, as `kind`. Raises Invalid with the path below `root` and a hint."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$")
        inner = place.rstrip("`").lstrip(".")
        unknown = _UNKNOWN.match(message)
        if unknown is None:
            raise Invalid(message, path=_joined(root, inner)) from None
        name = unknown[1]
        (top,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
        known = _fields_at({**top, "$defs": components}, inner)
        hint = _nearest(name, known) or f"fields are: {', '.join(known)}"
        raise Invalid(f"unknown field {name!r}", path=_joined(root, inner, name), hint=hint) from None


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part).replace(".[", "[")


def _fields_at(schema: Mapping[str, Any], path: str) -> list[str]:
    place: Mapping[str, Any] = schema
    for name in filter(None, re.sub(r"\[[^]]*\]", "", path).split(".")):
        place = _properties(schema, place).get(name, {})
    return list(_properties(schema, place))


def _nearest(name: str, known: object) -> str:
    names = [str(each) for each in known] if isinstance(known, (Mapping, list)) else []
    found = difflib.get_close_matches(name, names, 1)
    return f"did you mean {found[0]!r}?" if found else ""


def check_name(name: str, path: str = "metadata.name") -> None:
    """Raises Invalid for what cannot be a resource's name."""
    if not _NAME.match(name):
        raise Invalid(
            f"{name!r} cannot be a name",
            path=path,
            hint="use up to 63 lower-case letters, digits and -, beginning and ending with a letter or digit",
        )


def check_metadata(metadata: Metadata) -> None:
    """Raises Invalid for names, labels, annotations and finalizers that cannot be."""
    check_name(metadata.name)
    if metadata.project:
        check_name(metadata.project, "metadata.project")
    for key, value in (metadata.labels or {}).items():
        check_label(key, value, "metadata.labels")
    for key in metadata.annotations or {}:
        check_label(key, "", "metadata.annotations")
    for name in metadata.finalizers or []:
        check_label(name, "", "metadata.finalizers")
    size = sum(len(key) + len(value.encode()) for key, value in (metadata.annotations or {}).items())
    if size > MAX_ANNOTATIONS_BYTES:
        raise Invalid(f"{size} bytes are too many", path="metadata.annotations", hint="keep them below 256 KiB")


def check_label(key: str, value: str, path: str) -> None:
    """Raises Invalid unless key and value have Kubernetes' form of labels."""
    if not _LABEL_KEY.match(key):
        raise Invalid(f"{key!r} cannot be a key", path=path, hint="use letters, digits and - _ . such as team or a.b/c")
    if not _LABEL_VALUE.match(value):
        raise Invalid(
            f"{value!r} cannot be the value of a label",
            path=f"{path}.{key}",
            hint="use up to 63 letters, digits and - _ . beginning and ending with a letter or digit",
        )
