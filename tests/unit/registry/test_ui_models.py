"""The pages of models and versions, without a browser: what they show, what forms do, who may."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from mlwright.kernel.identity import LOCAL, Role
from mlwright.registry.service import models, registration, renaming, versions
from mlwright.registry.service.registration import Description
from mlwright.registry.spec import NewVersion, Stage
from mlwright.security import projects
from tests.contract.registry import FILES
from tests.unit.registry.ui_world import ADA, RegistryWorld, counting, person, within
from tests.unit.tracking.ui_world import HOSTILE

TREE = "/projects/default/models/tree"
VIEWER = person("vera")
STRANGER = person("sam", Role.ADMIN, ["other"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RegistryWorld]:
    world = RegistryWorld(tmp_path)
    yield world
    world.close()


@pytest.fixture
def tree(world: RegistryWorld) -> RegistryWorld:
    world.model("tree", description="**Tall**\n\nand old", tags={"team": "sky"})
    return world


def names(page: str) -> list[str]:
    return re.findall(r'<th scope="row" class="name"><a href="[^"]+"><bdi>(.*?)</bdi>', page)


# --- the list ------------------------------------------------------------------------------------------------------


def test_the_list_shows_and_finds(tree: RegistryWorld) -> None:
    tree.model("oak", tags={"team": "sea"})
    tree.register()
    tree.alias("champion", 1)
    page = tree.get("/models?order=name").text
    assert names(page) == ["oak", "tree"]
    assert "@champion" in page
    assert "team: sky" in page
    assert "Tall" in page
    assert names(tree.get("/models?search=REE").text) == ["tree"]
    assert names(tree.get("/models?search=tags.team = 'sea'").text) == ["oak"]
    assert names(tree.get("/models?search=name LIKE 'o%25'").text) == ["oak"]
    assert names(tree.get("/models?order=-name").text) == ["tree", "oak"]
    assert "No model matches" in tree.get("/models?search=xyz").text


def test_a_wrong_search_is_explained_in_place(tree: RegistryWorld) -> None:
    answer = tree.get("/models?search=size = 3")
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert 'value="size = 3"' in answer.text


@pytest.mark.parametrize("query", ["order=size", "size=0", "token=%", "project=nowhere"])
def test_wrong_addresses_of_the_list(world: RegistryWorld, query: str) -> None:
    assert {world.get(f"/models?{query}", caller).status_code for caller in (LOCAL, VIEWER)} < {400, 404}


def test_the_list_has_pages(world: RegistryWorld) -> None:
    for number in range(5):
        world.model(f"m{number}")
    first = world.get("/models?order=name&size=2").text
    assert names(first) == ["m0", "m1"]
    following = re.search(r'href="([^"]+)" rel="next"', first)
    assert following
    second = world.get(html.unescape(following[1])).text
    assert names(second) == ["m2", "m3"]
    before = re.search(r'href="([^"]+)" rel="prev"', second)
    assert before
    assert names(world.get(html.unescape(before[1])).text) == ["m0", "m1"]


def test_models_of_other_projects_are_not_there(tree: RegistryWorld) -> None:
    tree.write(lambda tx: projects.create(tx, LOCAL, tree.platform.project, "other"))
    tree.model("secret", "other")
    assert names(tree.get("/models?order=name").text) == ["secret", "tree"]
    assert names(tree.get("/models", VIEWER).text) == ["tree"]
    assert tree.get("/models?project=other", VIEWER).status_code == 404
    assert tree.get("/projects/other/models/secret", VIEWER).status_code == 404
    assert names(tree.get("/models", STRANGER).text) == ["secret"]
    for path in (TREE, f"{TREE}/history", f"{TREE}/keys", f"{TREE}/live", f"{TREE}/gates"):
        assert tree.get(path, STRANGER).status_code == 404, path


def test_addresses_without_a_project_lead_to_the_callers(world: RegistryWorld) -> None:
    assert world.get("/models/a b").headers["location"] == "/projects/default/models/a%20b"
    place = world.get("/models/tree/versions/3", within("p")).headers["location"]
    assert place == "/projects/p/models/tree/versions/3"


def test_create_rename_delete(world: RegistryWorld) -> None:
    place = world.post("/models", {"name": " new "}).headers["location"]
    assert place == "/projects/default/models/new"
    assert world.post("/models", {"name": "new"}).status_code == 409
    assert world.post(f"{place}/rename", {"new_name": "newer"}, VIEWER).status_code == 403
    place = world.post(f"{place}/rename", {"new_name": "newer"}).headers["location"]
    assert "newer" in world.get(place).text
    assert world.post(f"{place}/delete", {}).headers["location"] == "/models"
    assert world.get(place).status_code == 404


# --- a model -------------------------------------------------------------------------------------------------------


def test_a_model_shows_its_versions_with_metrics_of_their_runs(tree: RegistryWorld) -> None:
    for number in range(3):
        tree.register(metrics={"accuracy": 0.5 + number / 10, "loss": 1.0}, description=f"try *{number}*")
    tree.alias("champion", 2)
    page = tree.get(TREE).text
    assert re.findall(r"/versions/(\d+)\">Version", page)[-3:] == ["3", "2", "1"]
    assert "<strong>Tall</strong>" in page
    assert "0.7" in page
    chosen = tree.get(f"{TREE}?column=params.depth&column=metrics.loss&format=json").json()
    assert [[cell["text"] for cell in row["cells"]] for row in chosen["rows"]] == [["3", "1"]] * 3
    assert [row["aliases"] for row in chosen["rows"]] == [[], ["champion"], []]
    assert tree.get(f"{TREE}/keys").json()["metrics"] == ["accuracy", "loss"]
    short = tree.get(f"{TREE}?size=2&column=params.depth").text
    following = re.search(r'href="([^"]+)" rel="next"', short)
    assert following
    assert ">depth<" in tree.get(TREE + html.unescape(following[1]).partition("#")[0]).text
    assert 'href="/projects/default/models/tree/versions/1"' not in short


def test_chosen_columns_are_remembered(tree: RegistryWorld) -> None:
    tree.register()
    answer = tree.post(f"{TREE}/columns", {"column": "params.depth"})
    assert answer.headers["location"] == f"{TREE}?column=params.depth"
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert "Path=/projects/default/models/tree" in answer.headers["set-cookie"]
    assert ">depth<" in tree.get(TREE, cookie=cookie).text
    assert ">accuracy<" in tree.get(TREE).text
    assert tree.post(f"{TREE}/columns", {"reset": "1"}).headers["location"] == TREE


def test_runs_that_the_reader_may_not_see_are_not_named(tree: RegistryWorld) -> None:
    """A version may come from a run of another project: whoever sees the one need not see the other."""
    tree.write(lambda tx: projects.create(tx, LOCAL, tree.platform.project, "other"))
    tree.model("copy", "other")
    run_id = tree.register().run_id
    new = NewVersion("copy", "s3://bucket/model", run_id)
    tree.write(lambda tx: registration.create(tx, within("other"), new, Description()))
    for path in ("/projects/other/models/copy", "/projects/other/models/copy/versions/1"):
        assert "run of tree" in tree.get(path).text
        page = tree.get(path, STRANGER)
        assert page.status_code == 200
        assert "run of tree" not in page.text
        assert f"/runs/{run_id}" not in page.text
    assert "/models/copy/" in tree.get(f"/runs/{run_id}").text
    assert "/models/copy/" not in tree.get(f"/runs/{run_id}", VIEWER).text


def test_description_and_tags(tree: RegistryWorld) -> None:
    text = f"# Head\r\n{HOSTILE}"
    assert tree.post(f"{TREE}/describe", {"note": text}).status_code == 303
    page = tree.get(TREE).text
    assert "<h1>Head</h1>" in page
    assert "<script>alert" not in page
    assert "<em>x</em>" in tree.post(f"{TREE}/preview", {"note": "*x*"}).json()["html"]
    tree.post(f"{TREE}/tags", {"key": "k", "value": HOSTILE})
    assert html.escape(HOSTILE, quote=False)[:20] in tree.get(TREE).text
    tree.post(f"{TREE}/tags/delete", {"key": "k"})
    assert tree.get(f"{TREE}?format=json").json()["tags"] == [{"key": "team", "value": "sky"}]
    for path, form in (("describe", {"note": ""}), ("tags", {"key": "k"}), ("delete", {})):
        assert tree.post(f"{TREE}/{path}", form, VIEWER).status_code == 403


def test_a_reader_gets_no_forms(tree: RegistryWorld) -> None:
    tree.register()
    tree.alias("champion", 1)
    for path in (TREE, f"{TREE}/versions/1"):
        assert 'method="post"' in tree.get(path).text
        forms = re.findall(r'method="post" action="([^"]+)"', tree.get(path, VIEWER).text)
        assert [each for each in forms if each not in {"/logout", f"{TREE}/columns"}] == []


@pytest.mark.parametrize(
    "name", [HOSTILE.replace("/", "!").rstrip("\u202e"), "api", "health", "a&b=c?d#e", "模型 é", "a%2Fb", " "]
)
def test_names_that_break_addresses(world: RegistryWorld, name: str) -> None:
    if not name.strip():
        assert world.post("/models", {"name": name}).status_code == 400
        return
    place = world.post("/models", {"name": name}).headers["location"]
    assert place == f"/projects/default/models/{quote(name, safe='')}"
    world.register(name)
    for path in (place, f"{place}/history", f"{place}/gates", f"{place}/versions/1", f"{place}/versions/1/files"):
        page = world.get(path)
        assert page.status_code == 200, path
        assert "<script>alert" not in page.text
    assert html.escape(name) in world.get(place).text.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")
    assert world.post(f"{place}/aliases", {"alias": "best", "version": "1"}).status_code == 303


def test_aliases_are_set_moved_and_removed_and_that_is_kept(tree: RegistryWorld) -> None:
    tree.register()
    tree.register()
    aliases = f"{TREE}/aliases"
    assert tree.post(aliases, {"alias": "champion", "version": "1"}).headers["location"] == f"{TREE}#aliases"
    tree.post(aliases, {"alias": "champion", "version": "2", "expected": "1"})
    page = tree.get(TREE).text
    assert "Moved 2 times" in page
    assert "1 → 2" in page
    late = tree.post(aliases, {"alias": "champion", "version": "1", "expected": "1"})
    assert late.status_code == 409
    assert "somebody moved it" in late.text
    assert tree.post(aliases, {"alias": "champion", "version": "1"}, VIEWER).status_code == 403
    assert tree.post(aliases, {"alias": "v3", "version": "1"}).status_code == 400
    assert tree.post(aliases, {"alias": "x", "version": "9"}).status_code == 404
    assert tree.post(aliases, {"alias": "x", "version": "1", "expected": "one"}).status_code == 400
    tree.post(f"{aliases}/delete", {"alias": "champion"})
    assert "removed from 2" in tree.get(TREE).text


def test_history_follows_the_model_through_its_names(tree: RegistryWorld) -> None:
    """… and leaves out what another model did under the same name."""
    tree.register()
    tree.write(lambda tx: models.delete_model(tx, LOCAL, "tree"))
    tree.model("seed")
    tree.register("seed", description="first")
    tree.write(lambda tx: models.set_tag(tx, LOCAL, "seed", "k", "before"))
    tree.write(lambda tx: renaming.rename(tx, LOCAL, "seed", "tree"))
    tree.alias("champion", 1)
    events = tree.get(f"{TREE}/history?format=json").json()["events"]
    assert [each["type"].removeprefix("registry.") for each in events] == [
        "alias.moved", "model.renamed", "model.tags_set", "model.created",
    ]  # fmt: skip
    page = tree.get(f"{TREE}/history").text
    assert "Renamed from seed to tree" in page
    assert "Tag k set to before" in page
    tree.write(lambda tx: versions.describe(tx, LOCAL, "tree", 1, "second"))
    tree.write(lambda tx: versions.transition(tx, LOCAL, "tree", 1, Stage.STAGING))
    page = tree.get(f"{TREE}/versions/1/history").text.partition('<ol class="events">')[2]
    parts = ("Stage moved from None to Staging", "Description changed", "Registered")
    assert sorted(parts, key=page.index) == list(parts)


def test_history_has_pages(tree: RegistryWorld) -> None:
    for number in range(60):
        tree.write(lambda tx, number=number: models.set_tag(tx, LOCAL, "tree", "k", str(number)))  # type: ignore[misc]
    first = tree.get(f"{TREE}/history").text
    assert "set to 59" in first
    assert "set to 5<" not in first
    older = re.search(r'href="(\?before=\d+)" rel="next"', first)
    assert older
    last = tree.get(f"{TREE}/history{older[1]}").text
    assert "Model created" in last
    assert 'rel="next"' not in last


# --- a version -----------------------------------------------------------------------------------------------------


def test_a_version_shows_what_is_known(tree: RegistryWorld) -> None:
    example = b'{"columns": ["x"], "data": [[1.5]]}'
    found = tree.register(files={**FILES, "input_example.json": example}, tags={"k": "v"})
    page = tree.get(f"{TREE}/versions/1").text
    for part in (
        found.digest,
        "run of tree",
        ">x<",
        "double",
        "1.5",
        "scikit-learn==1.8.0",
        "sklearn",
        "3.11.9",
        "ada",
    ):
        assert part is not None
        assert part in page, part
    assert tree.get(f"{TREE}/versions/2").status_code == 404
    assert tree.get(f"{TREE}/versions/x").status_code == 400
    assert tree.get(f"{TREE}/versions/1", STRANGER).status_code == 404


def test_a_version_without_anything_says_so(tree: RegistryWorld) -> None:
    new = NewVersion("tree", "s3://bucket/model")
    tree.write(lambda tx: registration.create(tx, LOCAL, new, Description()))
    page = tree.get(f"{TREE}/versions/1").text
    assert page.count("Not known:") == 3
    assert "Its files lie elsewhere" in page
    assert "s3://bucket/model" in tree.get(f"{TREE}/versions/1/files").text
    assert tree.get(f"{TREE}/versions/1/raw/x").status_code == 400
    broken = tree.register(files={"MLmodel": b"{"})
    assert "cannot be read" in tree.get(f"{TREE}/versions/{broken.version}").text


def test_pinned_files_are_shown_and_sealed(tree: RegistryWorld) -> None:
    tree.register(files={**FILES, "report.html": b"<script>alert(1)</script>", "data/a.csv": b"n,v\nx,1\n"})
    base = f"{TREE}/versions/1"
    listed = tree.get(f"{base}/files?format=json").json()["folder"]["nodes"]
    assert {node["entry"]["path"] for node in listed} >= {"MLmodel", "data", "report.html"}
    assert "<bdi>x</bdi>" in tree.get(f"{base}/files/data/a.csv").text
    assert "python_function" in tree.get(f"{base}/files/MLmodel").text
    saved = tree.get(f"{base}/raw/report.html")
    assert saved.headers["content-disposition"].startswith("attachment")
    assert saved.headers["content-security-policy"].startswith("sandbox")
    for path in ("../x", "%2e%2e/x", "a/%2e%2e/%2e%2e/x", "nothing.txt"):
        assert tree.get(f"{base}/raw/{path}").status_code in {400, 404}
    assert tree.get(f"{base}/raw/MLmodel", STRANGER).status_code == 404


def test_changing_and_deleting_a_version(tree: RegistryWorld) -> None:
    tree.register()
    base = f"{TREE}/versions/1"
    tree.post(f"{base}/describe", {"note": "**b**"})
    tree.post(f"{base}/tags", {"key": "k", "value": "v"})
    tree.post(f"{base}/stage", {"stage": "Staging"})
    page = tree.get(base).text
    for part in ("<strong>b</strong>", 'title="k"', "Staging"):
        assert part in page
    tree.post(f"{base}/tags/delete", {"key": "k"})
    assert 'title="k"' not in tree.get(base).text
    assert tree.post(f"{base}/stage", {"stage": "Nowhere"}).status_code == 400
    for path, form in (
        ("describe", {"note": ""}),
        ("tags", {"key": "k"}),
        ("stage", {"stage": "None"}),
        ("delete", {}),
    ):
        assert tree.post(f"{base}/{path}", form, VIEWER).status_code == 403
    assert tree.post(f"{base}/delete", {}).headers["location"] == TREE
    assert tree.get(base).status_code == 404


def test_a_run_leads_to_what_was_registered_from_it(tree: RegistryWorld) -> None:
    found = tree.register()
    tree.alias("champion", 1)
    page = tree.get(f"/runs/{found.run_id}").text
    assert f'href="{TREE}/versions/1"' in page
    assert "@champion" in page


@pytest.mark.parametrize("language", ["en", "zh-TW"])
def test_every_page_in_every_language(tree: RegistryWorld, language: str) -> None:
    tree.register()
    tree.alias("champion", 1)
    base = f"{TREE}/versions/1"
    pages = ["/models", TREE, f"{TREE}/gates", f"{TREE}/history", base, f"{base}/gates", f"{base}/files"]
    for path in (*pages, f"{base}/history", "/gates", "/approvals", "/webhooks"):
        page = tree.get(f"{path}?lang={language}")
        assert page.status_code == 200, path
        assert f'<html lang="{language}"' in page.text


def test_no_query_per_version(tree: RegistryWorld) -> None:
    """As many statements for a page of fifty as for one of two."""
    for _ in range(3):
        tree.register(caller=ADA)
    tree.get(TREE)
    counted: list[int] = []
    for size in (1, 3):
        with counting() as statements:
            assert tree.get(f"{TREE}?size={size}").status_code == 200
        counted.append(len(statements))
    assert counted[0] == counted[1]
