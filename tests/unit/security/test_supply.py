"""What a model is made of: locks of all forms, OSV's ranges, licences, and the bill of materials."""

import json
import zipfile
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from mlwright.kernel.errors import Invalid, NotFound
from mlwright.security.supply import advisories, licences, locks, sbom
from mlwright.security.supply.cvss import base_score
from mlwright.security.supply.spec import Danger, Needs, Pinned, Unpinned

NUMPY, PILLOW = Pinned("numpy", "2.1.0", "r"), Pinned("pillow", "9.5.0", "r")


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def pinned(needs: Needs) -> dict[str, str]:
    return {each.name: each.version for each in needs.pinned}


# --- what is needed -----------------------------------------------------------------------------------------------


def test_requirements_as_mlflow_and_pip_tools_write_them(tmp_path: Path) -> None:
    text = """mlflow==3.17.2  # by MLflow
Scikit_Learn[extra]==1.8.0 ; python_version >= "3.9"
numpy===2.1.0 \\
    --hash=sha256:aaaa \\
    --hash=sha256:bbbb
--index-url https://user:secret@example.com/simple
-r more.txt
pandas>=2,<3
scipy==1.*
torch @ https://example.com/torch.whl
./local
"""
    found = locks.needs(write(tmp_path, requirements__txt=text, more__txt="lightgbm==4.6.0\n"))
    assert pinned(found) == {
        "mlflow": "3.17.2", "scikit-learn": "1.8.0", "numpy": "2.1.0", "lightgbm": "4.6.0",
    }  # fmt: skip
    assert {each.name for each in found.unpinned} == {"pandas", "scipy", "torch", ""}
    assert "secret" not in repr(found)


def test_conda_and_python_env(tmp_path: Path) -> None:
    conda = """dependencies:
- python=3.11.9
- pip<=24
- conda-forge::numpy=2.1.0=py_0
- libgomp
- pip: [mlflow==3.17.2, x]
"""
    env = "python: 3.11.9\nbuild_dependencies: [pip==24.0, setuptools, wheel==0.40.0]\n"
    env += "dependencies: [-r requirements.txt]\n"
    found = locks.needs(write(tmp_path, conda__yaml=conda, python_env__yaml=env, requirements__txt="x==1\n"))
    assert pinned(found) == {"numpy": "2.1.0", "mlflow": "3.17.2", "pip": "24.0", "wheel": "0.40.0", "x": "1"}
    assert [each.requirement for each in found.unpinned] == ["libgomp"]  # x is settled by the requirements


def test_locks_settle_what_requirements_leave_open(tmp_path: Path) -> None:
    uv = """version = 1
[[package]]
name = "own"
version = "0.1.0"
source = { editable = "." }
[[package]]
name = "Pandas"
version = "2.3.0"
source = { registry = "https://index.example/simple" }
"""
    pylock = 'lock-version = "1.0"\n[[packages]]\nname = "attrs"\nversion = "25.1.0"\n'
    found = locks.needs(write(tmp_path, uv__lock=uv, pylock__toml=pylock, requirements__txt="pandas>=2\n"))
    assert pinned(found) == {"pandas": "2.3.0", "attrs": "25.1.0"}
    assert found.unpinned == []
    assert found.sources == ["pylock.toml", "requirements.txt", "uv.lock"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "-r requirements.txt"),
        ("requirements.txt", "-r ../../../../etc/passwd"),
        ("uv.lock", "[[package"),
        ("uv.lock", "package = 3"),
        ("pylock.toml", "packages = [1]"),
        ("conda.yaml", "a: [b"),
        ("python_env.yaml", "&a [*a]"),
        ("requirements.txt", "x" * (locks.MAX_BYTES + 1)),
    ],
)
def test_hostile_files(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    if name == "python_env.yaml":  # a list that holds itself is no mapping, and nothing follows it
        assert locks.needs(tmp_path).pinned == []
    else:
        with pytest.raises(Invalid):
            locks.needs(tmp_path)


def test_bytes_and_links(tmp_path: Path) -> None:
    assert locks.needs(tmp_path).sources == []
    (tmp_path / "requirements.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(Invalid):
        locks.needs(tmp_path)


@given(text=st.text(max_size=200))
@settings(deadline=None)
def test_any_line_is_read_or_reported(text: str) -> None:
    found = locks._required(text, "r")
    assert isinstance(found, Unpinned) or str(Version(found.version))


# --- advisories ---------------------------------------------------------------------------------------------------


def advisory(number: str, name: str = "pillow", /, **fields: Any) -> dict[str, Any]:
    affected = {"package": {"ecosystem": "PyPI", "name": name}, "ranges": [], "versions": []}
    affected |= {key: fields.pop(key) for key in ("ranges", "versions", "ecosystem_specific") if key in fields}
    return {"id": number, "modified": "2026-10-01T00:00:00Z", "summary": "bad", "affected": [affected], **fields}


def events(*turns: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"type": "ECOSYSTEM", "events": [{kind: version} for kind, version in turns]}]


def database(folder: Path, *documents: dict[str, Any]) -> Path:
    folder.mkdir()
    for each in documents:
        (folder / f"{each['id']}.json").write_text(json.dumps(each))
    return folder


@pytest.mark.parametrize(
    ("ranges", "inside", "outside"),
    [
        ([("introduced", "0"), ("fixed", "2.0")], ["0.0.1.dev0", "1.9", "2.0rc1"], ["2.0", "2.1"]),
        ([("introduced", "1.0"), ("last_affected", "1.5")], ["1.0", "1.5"], ["0.9", "1.5.post1", "1.6"]),
        ([("fixed", "1.2"), ("introduced", "1.0"), ("introduced", "2.0"), ("fixed", "2.2")], ["1.1", "2.1"],
         ["0.9", "1.2", "1.9", "2.2"]),
        ([("introduced", "1.0")], ["1.0", "99"], ["0.1"]),
        ([("introduced", "0"), ("fixed", "not a version")], ["1", "99"], []),
        ([("introduced", "0"), ("limit", "2")], ["1"], ["2", "3"]),
        ([("introduced", "1.0"), ("fixed", "1.0")], [], ["0.9", "1.0", "2"]),
        ([("introduced", "0"), ("fixed", "2.0")], ["1.9+cu121"], ["2.0+cu121"]),
    ],
)  # fmt: skip
def test_ranges(ranges: list[tuple[str, str]], inside: list[str], outside: list[str]) -> None:
    found = advisories._decoder.decode(json.dumps(advisory("A", ranges=events(*ranges)))).affected[0].ranges
    assert [version for version in inside + outside if advisories.is_affected(version, [], found)] == inside


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), unique_by=lambda each: each[0]), st.integers(0, 31))
@settings(deadline=None)
def test_ranges_are_as_the_specification_evaluates_them(turns: list[tuple[int, bool]], version: int) -> None:
    """OSV's own pseudocode, on events in any order."""
    vulnerable = False
    for at, begins in sorted(turns):
        if begins and version >= at:
            vulnerable = True
        elif not begins and version >= at:
            vulnerable = False
    ranges = events(*(("introduced" if begins else "fixed", str(at)) for at, begins in turns))
    found = advisories._decoder.decode(json.dumps(advisory("A", ranges=ranges))).affected[0].ranges
    assert advisories.is_affected(str(version), [], found) == vulnerable


def test_a_database_is_searched(tmp_path: Path) -> None:
    before_10: dict[str, Any] = {"ranges": events(("introduced", "0"), ("fixed", "10.0"))}
    worst = {"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}
    folder = database(
        tmp_path / "osv",
        advisory("GHSA-1", aliases=["CVE-1"], database_specific={"severity": "MODERATE"}, **before_10),
        advisory("PYSEC-1", aliases=["CVE-1"], severity=[worst],
                 **before_10),
        advisory("GHSA-2", "PILLOW", versions=["9.5"]),
        advisory("GHSA-3", withdrawn="2026-01-01T00:00:00Z", **before_10),
        advisory("GHSA-4", "numpy", ranges=events(("introduced", "3.0"))),
        advisory("GHSA-5", ranges=[{"type": "GIT", "events": [{"introduced": "0"}]}]),
        {"id": "GO-1", "affected": [{"package": {"ecosystem": "Go", "name": "pillow"}, **before_10}]},
    )  # fmt: skip
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in folder.iterdir():
            packed.write(path, path.name)
    for place in (folder, archive):
        found = advisories.search(place, [NUMPY, PILLOW])
        assert [(each.id, each.aliases, each.danger) for each in found.matches] == [
            ("GHSA-2", [], Danger.UNKNOWN),
            ("PYSEC-1", ["CVE-1", "GHSA-1"], Danger.CRITICAL),
        ]
        assert found.matches[1].fixed == ["10.0"]
        assert (found.advisories, found.unreadable, found.newest) == (6, [], datetime(2026, 10, 1, tzinfo=UTC))
    (folder / "broken.json").write_text("{")
    assert advisories.search(folder, [PILLOW]).unreadable == ["broken.json"]
    with pytest.raises(NotFound):
        advisories.search(tmp_path / "none", [])
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(Invalid):
        advisories.search(archive, [])


@pytest.mark.parametrize(
    ("vector", "score"),
    [
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0),
        ("CVSS:3.0/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N/E:F", 6.1),
        ("CVSS:3.1/AV:L/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:N", 0.0),
        ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", 3.1),
        ("CVSS:3.1/AV:L/AC:L/PR:H/UI:N/S:U/C:L/I:L/A:L", 4.2),
        ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:H/I:H/A:H", 9.9),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", None),
        ("CVSS:3.1/AV:N", None),
        ("high", None),
    ],
)
def test_scores_of_the_specification(vector: str, score: float | None) -> None:
    assert base_score(vector) == score


# --- licences -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND Apache-2.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only OR Apache-2.0", True),
        ("MIT AND (GPL-3.0-only OR Apache-2.0)", True),
        ("(GPL-3.0-only OR Apache-2.0) AND BSD-3-Clause", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", True),
        ("GPL-2.0-only WITH GCC-exception-2.0", False),
        ("LicenseRef-Own", False),
    ],
)
def test_expressions(expression: str, allowed: bool) -> None:
    names = ["mit", "Apache-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"]
    assert licences.canonical(expression) == expression
    assert licences.is_allowed(expression, names) is allowed


def test_where_licences_are_known_from(tmp_path: Path) -> None:
    ours = Pinned("click", __import__("importlib.metadata").metadata.version("click"), "r")
    other = Pinned("click", "0.0.1", "r")
    assert licences.known([ours, other, NUMPY], tmp_path, "licences.json") == {ours: "BSD-3-Clause"}
    write(tmp_path, licences__json=json.dumps({"NumPy": "BSD-3-Clause", "click": "no licence at all"}))
    assert licences.known([NUMPY, other], tmp_path, "licences.json") == {NUMPY: "BSD-3-Clause"}
    components = [
        {"name": "numpy", "licenses": [{"license": {"id": "MIT"}}, {"license": {"id": "Zlib"}}]},
        {"name": "pillow", "licenses": [{"license": {"name": "our own"}}]},
    ]
    write(tmp_path, bom__json=json.dumps({"bomFormat": "CycloneDX", "components": components}))
    assert licences.known([NUMPY, PILLOW], tmp_path, "bom.json") == {NUMPY: "(MIT) AND (Zlib)"}
    for bad in ("{", "[]", "3"):
        with pytest.raises(Invalid):
            licences.known([], write(tmp_path, bad__json=bad), "bad.json")


def test_metadata_says_one_thing_or_nothing() -> None:
    from email import message_from_string

    for text, found in [
        ("License-Expression: MIT\nLicense: GPL", "MIT"),
        ("License: Apache-2.0", "Apache-2.0"),
        ("License: BSD\nClassifier: License :: OSI Approved :: BSD License", None),
        ("Classifier: License :: OSI Approved\nClassifier: License :: OSI Approved :: MIT License", "MIT"),
        ("Classifier: License :: OSI Approved :: MIT License\nClassifier: License :: Other/Proprietary License", None),
        ("Name: x", None),
    ]:
        assert licences.of_metadata(message_from_string(text)) == found


# --- the bill of materials ----------------------------------------------------------------------------------------


def test_the_bill_is_valid_by_the_published_schema() -> None:
    needs = Needs([NUMPY, PILLOW], [Unpinned("pandas", "pandas>=2", "r"), Unpinned("", "./x", "r")], ["r"])
    model = sbom.Model(
        "flights", "3", "ab" * 32, {"MLmodel": "cd" * 32, "資料/a b": "ef" * 32}, datetime(2026, 1, 1, tzinfo=UTC)
    )
    text = sbom.bill(model, needs, {NUMPY: "BSD-3-Clause"}, "0.1.0")
    assert text == sbom.bill(model, needs, {NUMPY: "BSD-3-Clause"}, "0.1.0")
    folder = resources.files("cyclonedx.schema") / "_res"
    names = ("bom-1.6", "spdx", "jsf-0.82")
    schema, *others = (json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text()) for name in names)
    base = "http://cyclonedx.org/schema"
    registry = jsonschema_rs.Registry(
        [(f"{base}/{name}.SNAPSHOT.schema.json", each) for name, each in zip(names[1:], others, strict=True)]
    )
    found = json.loads(text)
    jsonschema_rs.validator_for(schema, registry=registry).validate(found)
    assert [each["name"] for each in found["components"]] == ["./x", "numpy", "pandas", "pillow"]
    assert found["metadata"]["component"]["components"][0]["hashes"][0]["content"] == "cd" * 32
