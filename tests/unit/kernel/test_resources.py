"""Kinds: validation with path and hint, explain, JSON Schema."""

from typing import Annotated, Any

import msgspec
import pytest

from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.resources import API_VERSION, Kind, Kinds, explain


class Part(msgspec.Struct, forbid_unknown_fields=True):
    """A part of a lamp."""

    weight: Annotated[float, msgspec.Meta(description="In grams.")]
    names: dict[str, str] = {}


class LampSpec(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What a lamp should be like."""

    main_colour: str = "white"
    parts: list[Part] = []
    spare: Part | None = None
    by_name: dict[str, Part] = {}
    mode: Annotated[str, msgspec.Meta(pattern="^(on|off)$")] = "on"


LAMP = Kind("Lamp", "lamps", LampSpec, "A lamp.")
KINDS = Kinds([LAMP])


def document(**changes: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": "Lamp", "metadata": {"name": "desk"}, "spec": {}} | changes


@pytest.mark.parametrize("name", ["Lamp", "lamp", "lamps", "LAMPS"])
def test_a_kind_is_found_by_any_of_its_names(name: str) -> None:
    assert KINDS.find(name) is LAMP


def test_an_unknown_kind_has_a_hint() -> None:
    with pytest.raises(NotFound) as caught:
        KINDS.find("lampe")
    assert caught.value.hint == "did you mean 'lamp'?"
    with pytest.raises(NotFound) as caught:
        KINDS.find("xyz")
    assert caught.value.hint == "kinds are: Lamp"


def test_a_manifest_gets_its_defaults_and_the_proper_name_of_its_kind() -> None:
    found = KINDS.manifest(document(kind="lamps", spec={"parts": [{"weight": 1}]}))
    assert found.kind == "Lamp"
    assert found.spec["mainColour"] == "white"
    assert found.spec["parts"] == [{"weight": 1.0, "names": {}}]


WEIGHT = "did you mean 'weight'?"


@pytest.mark.parametrize(
    ("changes", "path", "text", "hint"),
    [
        ({"spec": {"mainColor": "red"}}, "spec.mainColor", "unknown field 'mainColor'", "did you mean 'mainColour'?"),
        ({"spec": {"main_colour": "red"}}, "spec.main_colour", "unknown field", "did you mean 'mainColour'?"),
        ({"spec": {"zzz": 1}}, "spec.zzz", "unknown field", "fields are: mainColour, parts, spare, byName, mode"),
        ({"spec": {"mainColour": 5}}, "spec.mainColour", "Expected `str`, got `int`", ""),
        ({"spec": {"mode": "maybe"}}, "spec.mode", "Expected `str` matching", ""),
        ({"spec": {"parts": [{"weight": 1}, {"wieght": 1}]}}, "spec.parts[1].wieght", "unknown field", WEIGHT),
        ({"spec": {"parts": [{}]}}, "spec.parts[0]", "missing required field `weight`", ""),
        ({"spec": {"spare": {"wight": 1}}}, "spec.spare.wight", "unknown field", WEIGHT),
        ({"spec": {"byName": {"x": {"wight": 1}}}}, "spec.byName[...].wight", "unknown field", WEIGHT),
        ({"spec": []}, "spec", "Expected `object`", ""),
        ({"metdata": {}}, "metdata", "unknown field", "did you mean 'metadata'?"),
        ({"metadata": {}}, "metadata", "missing required field `name`", ""),
        ({"metadata": {"name": "x", "lables": {}}}, "metadata.lables", "unknown field", "did you mean 'labels'?"),
        ({"apiVersion": "v1"}, "apiVersion", "unknown version 'v1'", f"use {API_VERSION}"),
        ({"kind": "Lamb"}, "kind", "there is no kind 'Lamb'", "did you mean 'lamp'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_path_and_hint(changes: dict[str, Any], path: str, text: str, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        KINDS.manifest(document(**changes))
    assert caught.value.path == path
    assert text in caught.value.message
    assert caught.value.hint == hint


@pytest.mark.parametrize("document", [None, 1, "text", [], {}, {"kind": "Lamp"}])
def test_what_is_no_manifest_is_refused(document: object) -> None:
    with pytest.raises(Invalid):
        KINDS.manifest(document)


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a_b", "a.b", "a" * 64, "ä", "a\n", "../x", "a b"])
def test_names_are_those_of_kubernetes(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        KINDS.manifest(document(metadata={"name": name}))
    assert caught.value.path == "metadata.name"


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a" * 63])
def test_good_names_are_taken(name: str) -> None:
    assert KINDS.manifest(document(metadata={"name": name})).metadata.name == name


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"labels": {"": "x"}}, "metadata.labels"),
        ({"labels": {"a b": "x"}}, "metadata.labels"),
        ({"labels": {"a": "x y"}}, "metadata.labels.a"),
        ({"labels": {"a": "x" * 64}}, "metadata.labels.a"),
        ({"labels": {"a/b/c": "x"}}, "metadata.labels"),
        ({"annotations": {"-": "x"}}, "metadata.annotations"),
        ({"annotations": {"a": "x" * 300_000}}, "metadata.annotations"),
        ({"finalizers": ["a b"]}, "metadata.finalizers"),
        ({"project": "A"}, "metadata.project"),
    ],
)
def test_bad_metadata_is_refused(metadata: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as caught:
        KINDS.manifest(document(metadata={"name": "x", **metadata}))
    assert caught.value.path == path


def test_good_metadata_is_taken() -> None:
    labels = {"team": "vision", "mlwright.dev/tier": "1.2_x-Y", "empty": ""}
    found = KINDS.manifest(document(metadata={"name": "x", "labels": labels, "annotations": {"a": "any\nthing"}}))
    assert found.metadata.labels == labels


def test_explain_walks_into_fields() -> None:
    top = explain(LAMP)
    assert (top.path, top.type, top.description) == ("Lamp", "object", "A lamp.")
    assert list(top.fields) == ["apiVersion", "kind", "metadata", "spec", "status"]
    spec = explain(LAMP, "spec")
    assert (spec.type, spec.description) == ("LampSpec", "What a lamp should be like.")
    assert spec.fields == {
        "mainColour": "string",
        "parts": "list of Part",
        "spare": "Part or null",
        "byName": "map of Part",
        "mode": "string",
    }
    assert explain(LAMP, "spec.mainColour").default == "white"
    for path in ("spec.parts.weight", "spec.spare.weight", "spec.byName.weight"):
        weight = explain(LAMP, path)
        assert (weight.type, weight.description, weight.required) == ("number", "In grams.", True)
    assert explain(LAMP, "metadata.labels").type == "map of string or null"
    assert "phase" in explain(LAMP, "status").fields


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("spek", "did you mean 'spec'?"),
        ("spec.part", "did you mean 'parts'?"),
        ("spec.mode.deeper", "fields of Lamp.spec.mode: none"),
        ("spec..x", "fields of Lamp.spec: mainColour, parts, spare, byName, mode"),
    ],
)
def test_explaining_what_is_not_there(path: str, hint: str) -> None:
    with pytest.raises(NotFound) as caught:
        explain(LAMP, path)
    assert caught.value.hint == hint


def test_the_schema_is_closed() -> None:
    schema = LAMP.schema()
    assert schema["properties"]["kind"] == {"const": "Lamp"}
    assert schema["$defs"]["LampSpec"]["additionalProperties"] is False
    assert schema["additionalProperties"] is False
