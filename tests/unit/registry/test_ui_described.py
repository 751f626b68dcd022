"""The pages of model cards and comparisons."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlwright.kernel.identity import LOCAL, Role
from mlwright.registry import markdown
from mlwright.registry.service import card, registration
from mlwright.registry.service.registration import Description
from mlwright.registry.spec import NewVersion
from mlwright.security import projects
from mlwright.web.i18n import catalogue
from tests.contract.registry import FILES
from tests.unit.registry.ui_world import FAILS, RegistryWorld, person, within
from tests.unit.tracking.ui_world import HOSTILE

TREE = "/projects/default/models/tree"
STRANGER = person("sam", Role.ADMIN, ["other"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RegistryWorld]:
    world = RegistryWorld(tmp_path)
    world.model("tree", description=HOSTILE)
    yield world
    world.close()


def numbers(page: str) -> tuple[str, str]:
    """Which version is compared with which."""
    found = re.search(r'<th scope="col"><a href="[^"]+">Version (\d+)</a></th><th scope="col">Version (\d+)</th>', page)
    assert found
    return found[1], found[2]


def test_the_card_is_shown_and_saved(world: RegistryWorld) -> None:
    world.register(description="for *testing*")
    page = world.get(f"{TREE}/versions/1/card").text
    assert "<h2>Metrics</h2>" in page
    assert "for *testing*" in page
    assert "<script>alert" not in page
    saved = world.get(f"{TREE}/versions/1/card.md")
    assert saved.headers["content-type"].startswith("text/markdown")
    assert saved.headers["content-disposition"] == 'attachment; filename="card-1.md"'
    assert saved.text.startswith("# tree, version 1")
    for path in ("card", "card.md", "compare"):
        assert world.get(f"{TREE}/versions/1/{path}", STRANGER).status_code == 404
        assert world.get(f"{TREE}/versions/9/{path}").status_code == 404


def test_the_card_speaks_the_language_of_the_reader(world: RegistryWorld) -> None:
    world.policy(FAILS)
    world.register()
    world.run_gates()
    page = world.get(f"{TREE}/versions/1/card?lang=zh-TW").text
    for part in (
        "<h2>限制</h2>",
        "<h2>指標</h2>",
        "尚未通過關卡 production/smoke：",
        "exit status 3",
        "沒有人簽署它。",
    ):
        assert part in page, part
    for part in ("has not been passed", "Nobody has signed it.", "<h2>Limits</h2>", "Unknown: "):
        assert part not in page, part
    saved = world.get(f"{TREE}/versions/1/card.md?lang=zh-TW").text
    assert "The gate production/smoke has not been passed: " in saved
    assert "## Limits" in saved


def test_every_limit_and_heading_has_a_translation() -> None:
    """They stand in the code, where the test of all texts does not look."""
    limits, headings = (Path(str(each.__file__)).read_text(encoding="utf-8") for each in (card, markdown))
    texts = [*re.findall(r'Limit\(\s*"([^"]+)"', limits), *card._EXPECTED.values()]
    texts += re.findall(r'^        \("([A-Z][^"]*)", ', headings, re.MULTILINE)
    assert len(texts) > 25
    assert [text for text in texts if text not in catalogue("zh-TW")] == []


def test_versions_are_compared(world: RegistryWorld) -> None:
    world.register(metrics={"accuracy": 0.5, "gone": 1.0})
    world.register(metrics={"accuracy": 0.75}, files={**FILES, "requirements.txt": b"scikit-learn==1.9.0\n"})
    page = world.get(f"{TREE}/versions/2/compare")
    assert numbers(page.text) == ("1", "2")
    assert "+0.25" in page.text
    assert "==1.9.0" in page.text
    assert re.search(r'<tr class="removed"><th scope="row" class="wrap"><bdi>gone</bdi>', page.text)
    backwards = world.get(f"{TREE}/versions/1/compare?with=2").text
    assert numbers(backwards) == ("2", "1")
    assert "−0.25" in backwards
    same = world.get(f"{TREE}/versions/1/compare?with=1").text
    assert "Both have the same files, to the byte." in same


def test_the_champion_is_what_one_compares_with(world: RegistryWorld) -> None:
    for _ in range(3):
        world.register()
    world.alias("champion", 1)
    assert world.get(f"{TREE}/versions/3/compare?format=json").json()["number"] == 1
    assert world.get(f"{TREE}/versions/1/compare?format=json").json()["number"] == 0
    world.alias("champion", 3)
    assert world.get(f"{TREE}/versions/3/compare?format=json").json()["number"] == 2


def test_what_there_is_not_cannot_be_compared(world: RegistryWorld) -> None:
    world.register()
    assert "There is no other version" in world.get(f"{TREE}/versions/1/compare").text
    for query in ("with=9", "with=x", "with=0", "with=1&model=none", "with=1&project=none"):
        answer = world.get(f"{TREE}/versions/1/compare?{query}")
        assert answer.status_code == 404, query
        assert 'role="alert"' in answer.text, query


def test_models_of_other_projects_are_compared_by_who_may_see_both(world: RegistryWorld) -> None:
    world.register()
    world.write(lambda tx: projects.create(tx, LOCAL, world.platform.project, "other"))
    world.model("copy", "other")
    new = NewVersion("copy", "s3://bucket/x")
    world.write(lambda tx: registration.create(tx, within("other"), new, Description()))
    path = "/projects/other/models/copy/versions/1/compare?with=1&model=tree&project=default"
    page = world.get(path)
    assert page.status_code == 200
    assert "Not known of:" in page.text
    answer = world.get(path, STRANGER)
    assert answer.status_code == 404
    assert "accuracy" not in answer.text


def test_the_bill_of_materials(world: RegistryWorld) -> None:
    world.register(files={**FILES, "requirements.txt": b"scikit-learn==1.8.0\n<b>odd\nnumpy>=2\n"})
    page = world.get(f"{TREE}/versions/1/materials").text
    for part in ("scikit-learn", "1.8.0", "numpy", "not certain"):
        assert part in page
    assert "<b>odd" not in page
    saved = world.get(f"{TREE}/versions/1/sbom.cdx.json")
    assert saved.json()["bomFormat"] == "CycloneDX"
    assert saved.headers["content-disposition"] == 'attachment; filename="sbom-1.cdx.json"'
    world.write(lambda tx: registration.create(tx, LOCAL, NewVersion("tree", "s3://bucket/x"), Description()))
    without = world.get(f"{TREE}/versions/2/materials")
    assert without.status_code == 200
    assert 'role="alert"' in without.text
    for path in ("materials", "sbom.cdx.json"):
        assert world.get(f"{TREE}/versions/1/{path}", STRANGER).status_code == 404
        assert world.get(f"{TREE}/versions/9/{path}").status_code == 404
