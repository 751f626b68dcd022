"""The pages themselves, without a browser: what they show, what forms do, who may."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mlwright.kernel.identity import LOCAL, Caller, Role
from mlwright.security import projects
from mlwright.tracking.service import inputs, notes, runs
from mlwright.tracking.spec import Dataset, DatasetInput, Metric, Tag
from mlwright.tracking.tables import PARENT_TAG
from tests.unit.tracking.ui_world import HOSTILE, World

VIEWER = Caller("vera", roles={"default": Role.VIEWER})
STRANGER = Caller("sam", roles={"other": Role.ADMIN})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def data(answer: httpx.Response) -> dict[str, object]:
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


# --- experiments ---------------------------------------------------------------------------------------------------


def test_the_list_finds_by_name_and_counts(world: World) -> None:
    number = world.experiment("Late Flights 100%", Tag("team", "sky"))
    world.run(number, "one")
    page = world.get("/experiments?search=late")
    assert "Late Flights 100%" in page.text
    assert "Default" not in re.findall(r"<bdi>(.*?)</bdi>", page.text)
    assert "team: sky" in page.text
    assert "No experiment matches" in world.get("/?search=xyz").text
    assert "Late Flights" in world.get("/?search=100%25").text
    items = data(world.get("/?format=json"))["items"]
    assert isinstance(items, list)
    assert {item["experiment"]["name"]: item["runs"] for item in items} == {"Late Flights 100%": 1, "Default": 0}


@pytest.mark.parametrize("path", ["/projects/a%26b", "/projects/a%26b/"])
def test_the_address_of_a_project_leads_to_its_experiments(world: World, path: str) -> None:
    answer = world.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?project=a%26b")


def test_a_project_that_does_not_exist_is_not_an_empty_one(world: World) -> None:
    answer = world.get("/?project=nope")
    assert answer.status_code == 404
    assert "nope" in answer.text
    world.write(lambda tx: projects.create(tx, LOCAL, world.platform.project, "fresh"))
    assert "export MLFLOW_TRACKING_URI=http://localhost/projects/fresh" in world.get("/?project=fresh").text


@pytest.mark.parametrize("place", ["/experiments/7", "/runs/" + "a" * 32])
def test_addresses_below_a_project_lead_to_the_pages(world: World, place: str) -> None:
    answer = world.get(f"/projects/nope{place}")
    assert (answer.status_code, answer.headers["location"]) == (303, place)


def test_create_rename_delete_restore(world: World) -> None:
    answer = world.post("/experiments", {"name": " new "})
    assert answer.status_code == 303
    place = answer.headers["location"]
    assert "<bdi>new</bdi>" in world.get(place).text
    assert world.post(f"{place}/rename", {"name": "newer"}).status_code == 303
    assert world.post(f"{place}/tags", {"key": "k", "value": "v"}).status_code == 303
    page = world.get(place).text
    assert "newer" in page
    assert "k: v" in page
    world.post(f"{place}/delete", {})
    assert "newer" not in world.get("/").text
    assert "newer" in world.get("/?view=deleted").text
    world.post(f"{place}/restore", {})
    assert "newer" in world.get("/").text


def test_a_wrong_form_is_a_page_with_the_reason(world: World) -> None:
    world.experiment("taken")
    answer = world.post("/experiments", {"name": "taken"})
    assert answer.status_code == 409
    assert "already exists" in answer.text
    assert "choose another name" in answer.text


# --- the runs table ------------------------------------------------------------------------------------------------


def test_a_table_shows_sorts_filters_and_pages(world: World) -> None:
    number = world.experiment("e")
    for n in range(5):
        world.run(number, f"run-{n}", {"loss": n / 10}, {"model": "tree"}, start_ms=1_700_000_000_000 + n)
    url = f"/experiments/{number}"
    names = re.compile(r'<a id="n\w+" href="/runs/\w+"><bdi>(.*?)</bdi>')
    assert names.findall(world.get(url).text) == [f"run-{n}" for n in (4, 3, 2, 1, 0)]
    ordered = world.get(f"{url}?order=metrics.`loss` ASC&size=2")
    assert names.findall(ordered.text) == ["run-0", "run-1"]
    assert 'aria-sort="ascending"' in ordered.text
    following = re.search(r'href="([^"]+)" rel="next"', ordered.text)
    assert following
    second = world.get(following[1].replace("&amp;", "&"))
    assert names.findall(second.text) == ["run-2", "run-3"]
    before = re.search(r'href="([^"]+)" rel="prev"', second.text)
    assert before
    assert names.findall(world.get(before[1].replace("&amp;", "&")).text) == ["run-0", "run-1"]
    assert names.findall(world.get(f"{url}?filter=metrics.loss > 0.25").text) == ["run-4", "run-3"]


def test_a_wrong_filter_is_explained_in_place(world: World) -> None:
    number = world.experiment("e")
    answer = world.get(f"/experiments/{number}?filter=metrics.loss >")
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert 'value="metrics.loss &gt;"' in answer.text


def test_children_show_below_their_parent(world: World) -> None:
    number = world.experiment("e")
    parent = world.run(number, "parent")
    world.run(number, "child", {"x": 1.0}, tags={PARENT_TAG: parent})
    url = f"/experiments/{number}"
    assert ">child<" not in world.get(url).text
    opened = world.get(f"{url}?open={parent}").text
    assert opened.index(">parent<") < opened.index(">child<")
    assert 'aria-expanded="true"' in opened
    assert ">child<" in world.get(f"{url}?nested=0").text
    assert ">child<" in world.get(f"{url}?filter=metrics.x = 1").text
    assert ">child<" in world.get(f"/runs/{parent}").text
    assert ">parent<" in world.get(f"/runs/{world.run(number, 'c2', tags={PARENT_TAG: parent})}").text


def test_columns_are_chosen_and_remembered(world: World) -> None:
    number = world.experiment("e")
    world.run(number, "r", {"loss": 0.5, "val/auc": 0.75}, {"depth": "3"})
    keys = data(world.get(f"/experiments/{number}/keys"))
    assert keys == {"metrics": ["loss", "val/auc"], "params": ["depth"], "tags": ["mlflow.runName"], "complete": True}
    url = f"/experiments/{number}"
    answer = world.post(f"{url}/columns", {"column": ["metrics.val/auc"], "back": url})
    assert "column=metrics.val%2Fauc" in answer.headers["location"]
    cookie = answer.headers["set-cookie"].partition(";")[0]
    remembered = world.get(url, cookie=cookie).text
    assert "0.75" in remembered
    assert "k-params" not in remembered
    assert "k-params" in world.get(url).text
    again = {"column": ["metrics.val/auc"], "reset": "1", "back": answer.headers["location"]}
    reset = world.post(f"{url}/columns", again)
    assert reset.headers["location"] == url


def test_views_are_saved_opened_and_removed(world: World) -> None:
    number = world.experiment("e")
    world.run(number, "r", {"loss": 0.5})
    url = f"/experiments/{number}"
    world.post(f"{url}/views", {"name": HOSTILE, "back": f"{url}?filter=metrics.loss > 0.1&column=metrics.loss"})
    page = world.get(url).text
    assert "<script>alert" not in page
    assert "filter=metrics.loss+%3E+0.1" in page
    world.post(f"{url}/views/delete", {"name": HOSTILE, "back": url})
    assert "filter=metrics.loss" not in world.get(url).text


def test_many_runs_are_deleted_and_restored_together(world: World) -> None:
    number = world.experiment("e")
    chosen = [world.run(number, f"r{n}") for n in range(3)]
    url = f"/experiments/{number}"
    assert world.post(f"{url}/runs", {"run": chosen[:2], "action": "delete", "back": url}).status_code == 303
    assert (">r0<" in world.get(url).text, ">r2<" in world.get(url).text) == (False, True)
    assert ">r0<" in world.get(f"{url}?view=deleted").text
    world.post(f"{url}/runs", {"run": chosen[:2], "action": "restore", "back": url})
    assert ">r0<" in world.get(url).text
    assert world.post(f"{url}/runs", {"run": [], "action": "delete"}).status_code == 400
    assert world.post(f"{url}/runs", {"run": [chosen[0], "f" * 32], "action": "delete"}).status_code == 404
    assert ">r0<" in world.get(url).text, "one unknown run: nothing is deleted"


def test_csv_is_whole_and_harmless_in_spreadsheets(world: World) -> None:
    number = world.experiment("e")
    chosen = world.run(number, "=cmd()", {"loss": -0.5}, {"model": "@x"})
    world.run(number, "plain", {"loss": 1.5})
    text = world.get(f"/experiments/{number}/runs.csv?column=metrics.loss&column=params.model").text
    lines = text.splitlines()
    assert lines[0] == "run_id,name,status,start_time,end_time,user,metrics.loss,params.model"
    assert len(lines) == 3
    assert "'=cmd()" in text
    assert "'@x" in text
    assert ",-0.5," in text
    assert len(world.get(f"/experiments/{number}/runs.csv?run={chosen}").text.splitlines()) == 2


# --- one run -------------------------------------------------------------------------------------------------------


def test_hostile_text_stays_text_on_every_page(world: World) -> None:
    number = world.experiment(HOSTILE, Tag("k", HOSTILE), Tag("mlflow.note.content", HOSTILE))
    run_id = world.run(
        number, HOSTILE, {"m": float("nan"), "i": float("inf")}, {"p": HOSTILE, "long": "x" * 6000},
        {"t": HOSTILE, "mlflow.note.content": HOSTILE, "mlflow.source.name": HOSTILE, "mlwright.command": HOSTILE},
    )  # fmt: skip
    world.write(lambda tx: notes.add_comment(tx, LOCAL, run_id, HOSTILE))
    content = Dataset(HOSTILE, "d", HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    dataset = DatasetInput(content, [Tag("mlflow.data.context", HOSTILE)])
    world.write(lambda tx: inputs.log_inputs(tx, LOCAL, run_id, [dataset]))
    pages = ["/", f"/experiments/{number}"]
    pages += [f"/runs/{run_id}{tab}" for tab in ("", "/charts", "/artifacts", "/environment")]
    pages += [f"/compare?run={run_id}&tab={tab}&all=1" for tab in ("table", "scatter", "parallel")]
    for path in pages:
        answer = world.get(path)
        assert answer.status_code == 200, path
        assert "<script>alert" not in answer.text, path
        assert "alert(1)" in answer.text, path
        inline = re.findall(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", answer.text)
        assert inline == [], f"inline scripts cannot run under the policy: {path}"
        assert " style=" not in answer.text, path
        assert not re.search(r"\son\w+=\"", answer.text.replace("x onerror", "")), path


def test_every_page_is_data_too(world: World) -> None:
    number = world.experiment("e")
    run_id = world.run(number, "r", {"loss": 0.5})
    tabs = [f"/runs/{run_id}{tab}" for tab in ("", "/charts", "/system", "/artifacts", "/environment")]
    for path in ("/", f"/experiments/{number}", *tabs, f"/compare?run={run_id}"):
        found = world.get(f"{path}{'&' if '?' in path else '?'}format=json")
        assert found.headers["content-type"] == "application/json", path
        assert json.loads(found.text), path


def test_notes_comments_tags_name(world: World) -> None:
    run_id = world.run(world.experiment("e"), "r")
    url = f"/runs/{run_id}"
    world.post(f"{url}/note", {"note": "**strong**\r\nnote"})
    world.post(f"{url}/comments", {"body": "a *comment*"})
    world.post(f"{url}/tags", {"key": "k", "value": "v1"})
    world.post(f"{url}/rename", {"name": "renamed"})
    page = world.get(url).text
    for part in ("<strong>strong</strong>", "<em>comment</em>", "v1", "renamed"):
        assert part in page
    assert world.post(f"{url}/preview", {"note": "_x_"}).json() == {"html": "<p><em>x</em></p>\n"}
    number = re.search(r'name="comment" value="(\d+)"', page)
    assert number
    world.post(f"{url}/comments/delete", {"comment": number[1]})
    world.post(f"{url}/tags/delete", {"key": "k"})
    page = world.get(url).text
    assert "<em>comment</em>" not in page
    assert "v1" not in page
    assert world.post(f"{url}/rename", {"name": "  "}).status_code == 400


def test_delete_and_restore(world: World) -> None:
    number = world.experiment("e")
    run_id = world.run(number, "r")
    assert world.post(f"/runs/{run_id}/delete", {}).headers["location"] == f"/experiments/{number}"
    page = world.get(f"/runs/{run_id}").text
    assert "Restore run" in page
    assert "Rename" not in page
    world.post(f"/runs/{run_id}/restore", {})
    assert "Delete run" in world.get(f"/runs/{run_id}").text


def test_long_lists_are_cut_until_asked_for(world: World) -> None:
    run_id = world.run(world.experiment("e"), "r", {f"m{n:03}": float(n) for n in range(250)})
    page = world.get(f"/runs/{run_id}").text
    assert "50 entries are not shown." in page
    assert 'Metrics <span class="muted">250</span>' in page
    assert "m249" in world.get(f"/runs/{run_id}?all=1").text


def test_charts_by_group_and_lines(world: World) -> None:
    run_id = world.run(world.experiment("e"), "r", {"single": 1.0})
    start = 1_700_000_000_000
    keys = ("train/loss", "system/cpu")
    points = [Metric(key, step / 10, start + step, step) for key in keys for step in range(5)]
    points.append(Metric("train/loss", float("nan"), start + 9_000, 9))
    world.write(lambda tx: runs.log_batch(tx, LOCAL, run_id, points, [], []))
    page = world.get(f"/runs/{run_id}/charts").text
    assert 'data-key="train/loss"' in page
    assert 'data-key="system/cpu"' not in page
    assert "Single values" in page
    assert 'data-key="system/cpu"' in world.get(f"/runs/{run_id}/system").text
    url = f"/series?run={run_id}&key=train/loss"
    (line,) = world.get(f"{url}&key=none").json()["series"]
    assert (line["run"], line["key"], line["points"]) == (run_id, "train/loss", 6)
    assert line["x"] == [0, 1, 2, 3, 4, 9]
    assert line["y"] == [0.0, 0.1, 0.2, 0.3, 0.4, None]
    (line,) = world.get(f"{url}&axis=relative&low=1&high=2").json()["series"]
    assert line["x"] == [0, 1, 2, 3], "one more point on each side"
    for wrong in ("axis=x", "low=a&high=2", "width=5"):
        assert world.get(f"/series?run={run_id}&key=a&{wrong}&format=json").status_code == 400
    assert world.get(f"/series?run={'f' * 32}&key=a&format=json").status_code == 404


def test_charts_that_would_be_alone_in_their_group_are_together(world: World) -> None:
    run_id = world.run(world.experiment("e"), "r")
    keys = ("acc", "layer0/norm", "train/loss", "train/acc", "val/loss")
    points = [Metric(key, 1.0, 1_700_000_000_000 + step, step) for key in keys for step in range(2)]
    world.write(lambda tx: runs.log_batch(tx, LOCAL, run_id, points, [], []))
    groups = world.get(f"/runs/{run_id}/charts?format=json").json()["groups"]
    assert {group["name"]: [each[0] for each in group["charts"]] for group in groups} == {
        "": ["acc", "layer0/norm", "val/loss"],
        "train": ["train/acc", "train/loss"],
    }


def test_thousands_of_metrics_are_found_by_name(world: World) -> None:
    run_id = world.run(world.experiment("e"), "r", {f"layer{n}/norm": 1.0 for n in range(450)})
    page = world.get(f"/runs/{run_id}/charts").text
    assert "50 more metrics are not shown." in page
    found = world.get(f"/runs/{run_id}/charts?find=LAYER449 norm").text
    assert "layer449/norm" in found
    assert "layer448/norm" not in found


# --- comparison ----------------------------------------------------------------------------------------------------


def test_a_comparison_shows_only_differences_until_asked(world: World) -> None:
    number = world.experiment("e")
    one = world.run(number, "one", {"loss": 0.5}, {"depth": "3", "same": "s"})
    two = world.run(number, "two", {"loss": 0.25}, {"depth": "5", "same": "s"})
    url = f"/compare?run={one}&run={two}&tab=table"
    page = world.get(url).text
    assert "depth" in page
    assert ">same<" not in page
    assert "-0.25" in page, "the difference of two runs' metrics"
    assert ">same<" in world.get(f"{url}&all=1").text
    by_filter = data(world.get(f"/compare?experiment={number}&filter=metrics.loss < 0.3&format=json"))
    comparison = by_filter["comparison"]
    assert isinstance(comparison, dict)
    assert [run["run_id"] for run in comparison["runs"]] == [two]


def test_nothing_chosen_and_wrong_tabs(world: World) -> None:
    assert "No runs chosen" in world.get("/compare").text
    assert world.get("/compare?tab=x").status_code == 400
    assert world.get(f"/compare?run={'f' * 32}").status_code == 404
    for tab in ("charts", "table", "parallel", "scatter", "environment"):
        run_id = world.run(world.experiment(tab), "r", {"a": 1.0})
        assert world.get(f"/compare?run={run_id}&tab={tab}").status_code == 200


# --- who may -------------------------------------------------------------------------------------------------------


def test_a_viewer_reads_and_comments_but_changes_nothing(world: World) -> None:
    number = world.experiment("e")
    run_id = world.run(number, "r")
    page = world.get(f"/runs/{run_id}", VIEWER).text
    assert "vera" in page
    assert "Log out" in page
    assert "Rename" not in page
    assert world.post(f"/runs/{run_id}/comments", {"body": "hi"}, VIEWER).status_code == 303
    for path, form in (("rename", {"name": "x"}), ("note", {"note": "x"}), ("tags", {"key": "a"}), ("delete", {})):
        assert world.post(f"/runs/{run_id}/{path}", dict(form), VIEWER).status_code == 403, path
    assert world.post("/experiments", {"name": "x"}, VIEWER).status_code == 403
    assert world.post(f"/experiments/{number}/runs", {"run": [run_id], "action": "delete"}, VIEWER).status_code == 403


def test_a_stranger_finds_nothing(world: World) -> None:
    number = world.experiment("secret")
    run_id = world.run(number, "r", {"loss": 1.0})
    assert "secret" not in world.get("/", STRANGER).text
    of_experiment = [f"/experiments/{number}{part}" for part in ("", "/keys", "/runs.csv", "/live")]
    parts = ("", "/charts", "/live", "/artifacts", "/raw/x", "/environment")
    others = [f"/series?run={run_id}&key=loss", f"/compare?run={run_id}", f"/compare?experiment={number}"]
    for path in (*of_experiment, *(f"/runs/{run_id}{part}" for part in parts), *others):
        assert world.get(path, STRANGER).status_code == 404, path


def test_languages(world: World) -> None:
    page = world.get("/?lang=zh-TW")
    assert '<html lang="zh-TW"' in page.text
    assert "新增實驗" in page.text
    assert "mlw-lang=zh-TW" in page.headers["set-cookie"]
    assert "新增實驗" in world.get("/", cookie="mlw-lang=zh-TW").text


def test_params_are_kept_whole(world: World) -> None:
    run_id = world.run(world.experiment("e"), "r", params={"long": "y" * 6000})
    assert "y" * 6000 in world.get(f"/runs/{run_id}").text
