"""Differences of versions and model cards on both databases: what is known is told, what is not is not invented."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlwright.kernel.database import Database
from mlwright.kernel.errors import NotFound
from mlwright.kernel.identity import Caller, Role
from mlwright.registry import markdown
from mlwright.registry.described import Aspect, Card, ChangeKind, Difference
from mlwright.registry.gates.spec import Check, Decision, GateVerdict, Standing
from mlwright.registry.plain import plain
from mlwright.registry.service import aliases, card, differences, models
from mlwright.registry.service.card import of
from mlwright.registry.service.known import known
from mlwright.registry.signatures.spec import KeyState, VersionSignature
from mlwright.registry.spec import ModelVersion
from mlwright.tracking.service import inputs, runs
from mlwright.tracking.spec import Dataset, DatasetInput, Metric, Param, Tag
from tests.contract.registry import FILES, MLMODEL, Registry

OTHER = MLMODEL.replace(b'"double"', b'"float"').replace(b'"x"}', b'"x"}, {"type": "long", "name": "y"}')


class Described(Registry):
    """A registry whose versions have much to tell."""

    def version(self, accuracy: float, name: str = "m", *, commit: str = "abc", **files: bytes) -> ModelVersion:
        folder = self.logged({**FILES, **{path.replace("__", "."): content for path, content in files.items()}})
        data = DatasetInput(Dataset("flights", f"d{accuracy}", "local", "{}"), [Tag(inputs.CONTEXT_TAG, "training")])
        self(inputs.log_inputs, self.run_id, [data])
        tags = [Tag("mlflow.source.git.commit", commit), Tag("mlflow.source.name", "train.py")]
        points = [Metric("accuracy", accuracy, 1), Metric("loss", math.nan, 1)]
        self(runs.log_batch, self.run_id, points, [Param("depth", "6")], tags)
        return self.register(folder, name)

    def difference(self, left: ModelVersion, right: ModelVersion) -> Difference:
        found: Difference = self(differences.between, (left.name, left.version, ""), (right.name, right.version, ""))
        return found

    def card(self, version: ModelVersion) -> Card:
        found: Card = self(card.card, version.name, version.version)
        return found


@pytest.fixture
def described(database: Database) -> Described:
    found = Described(database)
    found.model()
    return found


def of_name(found: Difference, name: str) -> Aspect:
    return next(each for each in found.aspects if each.name == name)


def changes(found: Difference, name: str) -> list[tuple[Any, ...]]:
    return [(each.name, each.kind.value, each.left, each.right) for each in of_name(found, name).changes]


def test_equal_versions_do_not_differ(described: Described) -> None:
    one, two = described.version(0.9), described.version(0.9)
    found = described.difference(one, two)
    assert (found.identical, [each.changes for each in found.aspects]) == (True, [[]] * 7)
    assert [each.name for each in found.aspects] == list(differences.ASPECTS)
    assert of_name(found, "metrics").equal == 2


def test_every_aspect_is_compared(described: Described) -> None:
    described.model("other")
    one = described.version(0.9)
    requirements = b"scikit_learn==1.9.0 # newest\n-r more.txt\nnumpy>=2,<3\n"
    two = described.version(0.8, "other", commit="def", MLmodel=OTHER, requirements__txt=requirements, extra=b"1")
    found = described.difference(one, two)
    assert (found.left.name, found.right.name, found.identical) == ("m", "other", False)
    assert changes(found, "metrics") == [("accuracy", "changed", 0.9, 0.8)]
    assert changes(found, "parameters") == []
    assert changes(found, "signature") == [
        ("inputs.x", "changed", "double", "float"),
        ("inputs.y", "added", None, "long"),
    ]
    assert changes(found, "data") == [("flights (training)", "changed", "d0.9", "d0.8")]
    assert changes(found, "code") == [("commit", "changed", "abc", "def")]
    assert changes(found, "environment") == [
        ("package -r more.txt", "added", None, ""),
        ("package numpy", "added", None, ">=2,<3"),
        ("package scikit-learn", "changed", "==1.8.0", "==1.9.0"),
    ]
    assert [each[:2] for each in changes(found, "files")] == [
        ("MLmodel", "changed"),
        ("extra", "added"),
        ("requirements.txt", "changed"),
    ]
    assert of_name(found, "files").equal == 1


def test_what_is_unknown_is_not_compared(described: Described) -> None:
    pinned, foreign = described.version(0.9), described.register("s3://bucket/model")
    found = described.difference(pinned, foreign)
    assert found.identical is None
    assert all((each.unknown, each.changes, each.equal) == (["right"], [], 0) for each in found.aspects)
    assert all(each.unknown == ["left", "right"] for each in described.difference(foreign, foreign).aspects)


def test_who_may_not_see_a_version_learns_nothing(described: Described) -> None:
    version = described.version(0.9)
    stranger = Described(described.database, Caller("stranger", roles={"elsewhere": Role.ADMIN}))
    with pytest.raises(NotFound):
        stranger.card(version)
    with pytest.raises(NotFound):
        stranger.difference(version, version)


def test_a_card_tells_what_is_known(described: Described) -> None:
    version = described.version(0.9)
    described(models.describe, "m", "Predicts <b>delays</b>.\n\nOf flights.")
    described(aliases.move, "m", "champion", 1)
    made = described.card(version)
    assert (made.aliases, made.purpose, made.owner) == (["champion"], "Predicts <b>delays</b>.\n\nOf flights.", "local")
    assert [(each.name, each.value) for each in made.metrics or ()] == [("accuracy", 0.9), ("loss", "NaN")]
    assert made.run is not None
    assert (made.run.experiment, made.run.parameters) == ("Default", {"depth": "6"})
    assert made.code is not None
    assert made.code.commit == "abc"
    assert [each.path for each in made.files or ()] == sorted(FILES)
    assert made.limits == [
        "No gate is about it: nothing has been proven.",
        "Nobody has signed it.",
        "Unknown: how it does on parts of the data.",
    ]
    text = markdown.card(msgspec.convert(msgspec.to_builtins(made), Card))
    for part in (
        "# m, version 1",
        r"Predicts \<b\>delays\</b\>.",
        "| accuracy | 0.9 | unknown |",
        "| inputs | x | double |",
        "| flights | training | d0.9 |",
        f"| digest | {version.digest} |",
        "| parameter depth | 6 |",
        "| package scikit-learn | ==1.8.0 |",
    ):
        assert part in text, part


def test_a_card_of_nothing_says_so(described: Described) -> None:
    made = described.card(described.register("s3://bucket/model"))
    text = markdown.card(made)
    for title in ("Purpose", "Metrics", "Slices and fairness", "Data", "Code", "Signature", "Environment", "Files"):
        assert f"## {title}\n\nunknown\n" in text, title
    assert "Its files are not kept here: they may change or go." in made.limits
    assert sum(each.startswith("Unknown: ") for each in made.limits) == 8


def test_gates_and_slices_in_a_card(described: Described) -> None:
    found = known_of(described)
    checks = [
        Check("accuracy_score", GateVerdict.PASS, "≥ 0.8", "0.9"),
        Check("accuracy_score where carrier = A|B", GateVerdict.FAIL, "≥ 0.8", "0.7"),
        Check("equalized odds by sex: recall_score", GateVerdict.PASS, "groups differ by at most 0.1", "0.05"),
    ]
    decision = Decision(GateVerdict.FAIL, "accuracy_score where carrier = A|B: 0.7", checks)
    standings = [
        Standing("p", "quality", "validation", "done", decision, 1, 2),
        Standing(
            "p", "lead", "approval", "waiting", Decision(GateVerdict.INCONCLUSIVE, "nobody has said anything", [])
        ),
    ]
    made = of(found._replace(standings=standings))
    assert made.slices == checks[1:]
    assert made.limits[:2] == [
        "The gate p/quality has not been passed: accuracy_score where carrier = A|B: 0.7",
        "The gate p/lead has not been passed: nobody has said anything",
    ]
    text = markdown.card(made)
    assert r"| p/quality | validation | fail | accuracy\_score where carrier = A\|B: 0.7 |" in text
    assert "| p/lead | approval | waiting |" in text


def test_signatures_in_a_card(described: Described) -> None:
    good = VersionSignature("f" * 64, "release", KeyState.ACTIVE, trusted=True, reason="", signed_by="ada", at_ms=1)
    bad = msgspec.structs.replace(good, fingerprint="0" * 64, trusted=False, reason="the key is revoked")
    made = of(known_of(described)._replace(signatures=[good, bad]))
    assert [each for each in made.limits if "sign" in each] == [
        "The signature 0000000000000000 does not count: the key is revoked"
    ]
    text = markdown.card(made)
    assert f"| {'f' * 64} | release | ada | yes |" in text
    assert "| no: the key is revoked |" in text


def known_of(described: Described) -> Any:
    version = described.version(0.9)
    return described(known, version.name, version.version)


SIDES = st.none() | st.dictionaries(st.text(max_size=3), st.integers(0, 2) | st.floats(allow_nan=False), max_size=5)


@given(SIDES, SIDES)
def test_a_difference_and_its_reverse(left: dict[str, object] | None, right: dict[str, object] | None) -> None:
    there, back = differences.aspect("a", left, right), differences.aspect("a", right, left)
    opposite = {ChangeKind.ADDED: ChangeKind.REMOVED, ChangeKind.REMOVED: ChangeKind.ADDED}
    mirrored = [(each.name, opposite.get(each.kind, each.kind), each.right, each.left) for each in back.changes]
    assert [(each.name, each.kind, each.left, each.right) for each in there.changes] == mirrored
    assert there.equal == back.equal
    if left is not None and right is not None:
        rebuilt = dict(left)
        for each in there.changes:
            if each.kind is ChangeKind.REMOVED:
                del rebuilt[each.name]
            else:
                rebuilt[each.name] = each.right
        assert rebuilt == right


@given(st.text(max_size=200))
def test_requirements_of_any_text_are_read(text: str) -> None:
    lines = [each for each in text.splitlines() if each.strip() and not each.strip().startswith("#")]
    assert len(differences.packages(text)) <= len(lines)


@given(st.text(max_size=80))
def test_no_text_breaks_out_of_its_cell(text: str) -> None:
    shown = plain(text)
    assert "\n" not in shown
    bare = shown.replace("\\\\", "")
    for character in "|<`[*":
        assert bare.count(character) == bare.count(f"\\{character}")
