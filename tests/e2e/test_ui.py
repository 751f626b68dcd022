"""The web UI in a real Chromium: what needs a browser to be believed."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.e2e.browsing import chromium, window
from tests.e2e.harness import API, ARTIFACTS, Client, first_traceback, new_server

pytestmark = [pytest.mark.browser, pytest.mark.component, pytest.mark.xdist_group("ui")]

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
START_MS = 1_700_000_000_000


@dataclass(frozen=True)
class Site:
    """A running server with three runs, one of them still running, and a hostile experiment."""

    url: str
    client: Client
    experiment: str
    runs: list[str]
    hostile: str
    hostile_run: str


def point(key: str, value: float | str, step: int) -> dict[str, object]:
    return {"key": key, "value": value, "timestamp": START_MS + step, "step": step}


def finish(client: Client, run: str) -> None:
    client.ok("POST", f"{API}/runs/update", {"run_id": run, "status": "FINISHED", "end_time": START_MS + 60_000})


def fill(client: Client, experiment: str, number: int) -> str:
    """A run with two histories, parameters and files; returns its id."""
    body = {"experiment_id": experiment, "start_time": START_MS + number, "run_name": f"run-{number}", "user_id": "ada"}
    run = str(client.ok("POST", f"{API}/runs/create", body)["run"]["info"]["run_id"])
    points = [
        {
            "key": key,
            "value": "NaN" if 40 < step < 50 else 1 / (step + number + 1),
            "timestamp": START_MS + step,
            "step": step,
        }
        for key in ("train/loss", "val/loss")
        for step in range(200)
    ]
    params = [
        {"key": "depth", "value": str(number)},
        {"key": "model", "value": "tree"},
        {"key": "lr", "value": str(0.1**number)},
    ]
    client.ok("POST", f"{API}/runs/log-batch", {"run_id": run, "metrics": points, "params": params})
    return run


def put(client: Client, run: str, path: str, content: bytes) -> None:
    uri = client.ok("GET", f"{API}/runs/get?run_id={run}")["run"]["info"]["artifact_uri"]
    place = uri.partition(":/")[2].strip("/")
    answer = client.request("PUT", f"{ARTIFACTS}/{place}/{quote(path)}", content)
    assert answer.status == 200, answer.body


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server = new_server(tmp_path_factory.mktemp("ui"))
    server.start()
    client = Client(server.port)
    try:
        experiment = client.new_experiment("trees")
        runs = [fill(client, experiment, number) for number in range(3)]
        for run in runs[:2]:
            client.ok(
                "POST", f"{API}/runs/update", {"run_id": run, "status": "FINISHED", "end_time": START_MS + 60_000}
            )
        page = (
            b"<title>t</title><p id=p>static</p><script>document.getElementById('p').textContent='ran '+origin</script>"
        )
        put(client, runs[0], "report.html", page)
        put(client, runs[0], "table.csv", b"name,value\nx,1\n")
        put(client, runs[0], "environment/requirements.lock.txt", b"numpy==2.1.0\n")
        put(client, runs[1], "environment/requirements.lock.txt", b"numpy==2.2.0\n")
        hostile = client.new_experiment(HOSTILE)
        hostile_run = fill(client, hostile, 9)
        tags = [{"key": "mlflow.note.content", "value": HOSTILE}, {"key": "mlflow.runName", "value": HOSTILE}]
        client.ok("POST", f"{API}/runs/log-batch", {"run_id": hostile_run, "tags": tags})
        put(client, hostile_run, "x.html", HOSTILE.encode())
        yield Site(server.url, client, experiment, runs, hostile, hostile_run)
        assert first_traceback(server) == ""
    finally:
        client.close()
        server.stop()


@pytest.fixture(scope="module")
def browser(chromium_path: Path) -> Iterator[Browser]:
    with chromium(chromium_path) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    with window(browser, site.url) as page:
        yield page


def names(page: Page) -> list[str]:
    return page.locator("table.runs tbody th.name a[id]").all_inner_texts()


def test_from_the_list_to_a_chart(page: Page, site: Site) -> None:
    page.goto("/")
    page.get_by_placeholder("Search by name").fill("tre")
    expect(page).to_have_url(re.compile("search=tre"))
    expect(page.locator("#list tbody tr")).to_have_count(1)
    page.get_by_role("link", name="trees").click()
    page.get_by_role("link", name="run-1").click()
    page.get_by_role("navigation", name="Pages of this run").get_by_role("link", name="Charts").click()
    expect(page.locator("figure canvas")).to_have_count(2)
    assert page.locator("figure").first.locator("canvas").evaluate("c => c.width") > 300


def test_sorting_filtering_and_the_back_button(page: Page, site: Site) -> None:
    page.goto(f"/experiments/{site.experiment}")
    assert names(page) == ["run-2", "run-1", "run-0"]
    page.get_by_role("link", name="depth").click()
    expect(page.locator("th[aria-sort]")).to_have_text(re.compile("depth"))
    page.get_by_role("link", name="depth").click()
    expect(page.locator('th[aria-sort="ascending"]')).to_have_count(1)
    assert names(page) == ["run-0", "run-1", "run-2"]
    page.locator("input[name=filter]").fill("params.depth = '1'")
    page.keyboard.press("Enter")
    expect(page.locator("table.runs tbody tr")).to_have_count(1)
    page.locator("input[name=filter]").fill("params.depth ==")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator("input[name=filter]")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("table.runs tbody tr")).to_have_count(1)
    page.go_back()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator("table.runs tbody tr")).to_have_count(1)


def test_names_are_completed_in_the_query_bar(page: Page, site: Site) -> None:
    page.goto(f"/experiments/{site.experiment}")
    box = page.locator("input[name=filter]")
    box.press_sequentially("val")
    expect(page.get_by_role("option").first).to_have_text("metrics.`val/loss`")
    page.keyboard.press("Tab")
    expect(box).to_have_value("metrics.`val/loss` ")
    box.press_sequentially("> 0 AND params.model = 'dep")
    expect(page.get_by_role("option")).to_have_count(0)


def test_choosing_columns_is_remembered(page: Page, site: Site) -> None:
    page.goto(f"/experiments/{site.experiment}")
    page.locator("#columns > summary").click()
    page.get_by_placeholder("Find a column").fill("runName")
    page.locator(".pick-list label", has_text="mlflow.runName").click()
    page.get_by_role("button", name="Show these").click()
    expect(page.locator("th.k-tags")).to_have_count(1)
    page.goto(f"/experiments/{site.experiment}")
    expect(page.locator("th.k-tags")).to_have_count(1)


def test_choosing_rows_and_comparing_them(page: Page, site: Site) -> None:
    page.goto(f"/experiments/{site.experiment}")
    compare = page.get_by_role("button", name="Compare", exact=True)
    expect(compare).to_be_disabled()
    boxes = page.locator('input[name="run"]')
    boxes.nth(0).click()
    boxes.nth(2).click(modifiers=["Shift"])
    expect(page.locator("#chosen")).to_have_text("3 chosen")
    compare.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 3 runs")
    expect(page.locator("figure canvas")).to_have_count(2)
    tabs = page.get_by_role("navigation", name="Ways to compare")
    for tab in ("Parallel coordinates", "Scatter and contour"):
        tabs.get_by_role("link", name=tab).click()
        expect(page.locator("#plane canvas").first).to_be_visible()
    tabs.get_by_role("link", name="Table").click()
    expect(page.get_by_role("rowheader", name="depth")).to_be_visible()
    expect(page.get_by_role("rowheader", name="model")).to_have_count(0)
    tabs.get_by_role("link", name="Code and environment").click()
    expect(page.get_by_text("2.2.0")).to_be_visible()


def test_rows_and_charts_follow_a_running_run(page: Page, site: Site) -> None:
    run = fill(site.client, site.experiment, 7)
    page.goto(f"/experiments/{site.experiment}?column=metrics.live")
    page.locator('input[name="run"]').nth(1).check()
    row = page.locator(f"#r{run}")
    expect(row).to_be_visible()
    stop = threading.Event()

    def log() -> None:
        client = Client(int(site.url.rpartition(":")[2]))
        for step in range(60):
            client.ok("POST", f"{API}/runs/log-metric", {"run_id": run, **point("live", step, step)})
            if stop.wait(0.2):
                break
        client.close()

    writer = threading.Thread(target=log)
    writer.start()
    try:
        expect(row.locator("td.num").last).not_to_be_empty(timeout=10_000)
        expect(page.locator('input[name="run"]').nth(1)).to_be_checked()
        page.goto(f"/runs/{run}/charts#find=live")
        figure = page.locator('figure[data-key="live"]')
        expect(figure.locator("canvas")).to_be_visible(timeout=10_000)
    finally:
        stop.set()
        writer.join()
    finish(site.client, run)
    expect(page.locator(".facts .status")).to_have_text("Finished", timeout=10_000)


def test_an_overview_follows_a_running_run(page: Page, site: Site) -> None:
    run = fill(site.client, site.experiment, 8)
    long = [{"key": "prompt", "value": "long text " * 60}]
    site.client.ok("POST", f"{API}/runs/log-batch", {"run_id": run, "params": long})
    page.goto(f"/runs/{run}")
    page.locator("td details summary").click()
    box = page.get_by_label("Your comment")
    box.press_sequentially("half a sen")
    body = {
        "run_id": run,
        "metrics": [point("train/loss", 77, 300), point("another", 5, 0)],
        "params": [{"key": "late", "value": "param"}],
        "tags": [{"key": "late", "value": "tag"}],
    }
    site.client.ok("POST", f"{API}/runs/log-batch", body)
    row = page.locator("#metrics tr", has_text="train/loss")
    expect(row.locator("td")).to_have_text(["77", "300", "201"])
    expect(page.get_by_role("rowheader", name="another")).to_be_visible()
    expect(page.get_by_role("rowheader", name="late")).to_have_count(2)
    expect(page.locator("td details")).to_have_attribute("open", "")
    expect(box).to_be_focused()
    box.press_sequentially("tence")
    expect(box).to_have_value("half a sentence")
    page.get_by_label("Actions for this run").click()
    page.get_by_label("New name").focus()
    finish(site.client, run)
    expect(page.locator(".facts .status")).to_have_text("Finished")
    expect(page.get_by_label("New name")).to_be_focused()


def test_a_change_during_a_fetch_is_fetched_too(page: Page, site: Site) -> None:
    run = fill(site.client, site.experiment, 3)
    with page.expect_response(lambda answer: answer.url.endswith(run) and answer.request.resource_type == "fetch"):
        page.goto(f"/runs/{run}")

    def slow(route: Route) -> None:
        answer = route.fetch()
        site.client.ok("POST", f"{API}/runs/log-metric", {"run_id": run, **point("train/loss", 88, 301)})
        time.sleep(1.5)
        route.fulfill(response=answer)

    page.route(f"**/runs/{run}", slow, times=1)
    site.client.ok("POST", f"{API}/runs/log-metric", {"run_id": run, **point("train/loss", 77, 300)})
    expect(page.locator("#metrics tr", has_text="train/loss").locator("td").first).to_have_text("88", timeout=8_000)
    finish(site.client, run)


def test_the_number_above_a_chart_follows(page: Page, site: Site) -> None:
    run = fill(site.client, site.experiment, 4)
    page.goto(f"/runs/{run}/charts")
    figure = page.locator('figure[data-key="train/loss"]')
    expect(figure.locator("canvas")).to_be_visible()
    figure.locator(".u-over").hover()
    site.client.ok("POST", f"{API}/runs/log-metric", {"run_id": run, **point("train/loss", 77, 300)})
    expect(figure.locator("output")).to_have_text("77")
    site.client.ok("POST", f"{API}/runs/log-batch", {"run_id": run, "metrics": [point("x", n, n) for n in range(3)]})
    expect(page.locator('figure[data-key="x"] canvas')).to_be_visible()
    finish(site.client, run)


def test_a_lost_connection_is_told(page: Page, site: Site) -> None:
    page.route("**/live", lambda route: route.abort())
    page.goto(f"/experiments/{site.experiment}")
    expect(page.locator("#lost")).to_have_text("Connection lost, trying again …")
    page.unroute("**/live")
    expect(page.locator("#lost")).to_be_empty(timeout=10_000)


OPTION = "() => echarts.getInstanceByDom(document.getElementById('plane')).getOption()"


def odd_runs(client: Client) -> list[str]:
    """Runs of an own experiment: all have a and b, none has both early and late, one b is infinite."""
    experiment = client.new_experiment(f"odd {time.monotonic_ns()}")
    runs = []
    for number in range(6):
        run = client.new_run(experiment)
        metrics = [point("b", "Infinity" if number == 5 else number**2, 0)]
        metrics.append(point("early" if number < 3 else "late", number, 0))
        name = f"a-long-name-of-a-run-with-number-{number}-that-ends-like-all-of-the-others-do"
        params = [{"key": "a", "value": str(number)}, *([{"key": "kind", "value": "tree"}] if number else [])]
        tags = [{"key": "mlflow.runName", "value": name}]
        client.ok("POST", f"{API}/runs/log-batch", {"run_id": run, "metrics": metrics, "params": params, "tags": tags})
        runs.append(run)
    return runs


def test_pictures_of_runs_without_some_values(page: Page, site: Site) -> None:
    base = "/compare?" + "&".join(f"run={run}" for run in odd_runs(site.client))
    page.goto(f"{base}&tab=scatter")
    expect(page.locator("#x-by")).to_have_value("params.a")
    expect(page.locator("#y-by")).to_have_value("metrics.b")
    expect(page.locator("#shown")).to_have_text("5 of 6 runs have both a and b.")
    page.locator("#x-by").select_option("metrics.early")
    page.locator("#y-by").select_option("metrics.late")
    expect(page.locator("#shown")).to_have_text("No run has both early and late.")
    page.goto(f"{base}&tab=scatter#x=params.a&y=metrics.b&colour=metrics.b&contour=1")
    page.reload()
    cells = page.evaluate(OPTION)["series"][0]["data"]
    assert len({cell[0] for cell in cells} | {cell[3] for cell in cells}) == 45, "neighbours share their edges"
    axes = ("params.a", "params.kind", "metrics.early", "metrics.b")
    page.goto(f"{base}&tab=parallel#{'&'.join(f'axis={axis}' for axis in axes)}")
    option = page.evaluate(OPTION)
    first, *_, last = (each["value"] for each in option["series"][0]["data"])
    assert (first[1], option["parallelAxis"][1]["data"]) == ("none", ["none", "tree"])
    lowest = [axis.get("min") for axis in option["parallelAxis"]]
    assert last[2:4] == lowest[2:4] == [pytest.approx(-0.24), pytest.approx(-1.92)]
    labels = page.locator(".run-chip bdi").all_inner_texts()
    assert len(set(labels)) == 6
    assert all(len(label) <= 32 for label in labels)
    expect(page.get_by_label("Add a run")).to_have_count(0)


def test_adding_a_run_to_a_comparison(page: Page, site: Site) -> None:
    page.goto(f"/compare?run={site.runs[0]}&tab=table")
    choice = page.get_by_label("Add a run")
    expect(choice.locator("option:checked")).to_have_text("Choose …")
    choice.select_option("run-1")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 2 runs")


def test_infinite_values_are_gaps_with_a_name(page: Page, site: Site) -> None:
    run = site.client.new_run(site.experiment)
    points = [point("spiked", "Infinity" if step == 1 else step, step) for step in range(3)]
    site.client.ok("POST", f"{API}/runs/log-batch", {"run_id": run, "metrics": points})
    page.goto(f"/runs/{run}/charts")
    page.locator("figure .u-over").hover()
    expect(page.locator("figure output")).to_have_text("1: ∞")


def test_zoom_smoothing_and_a_link_that_shows_the_same(page: Page, site: Site) -> None:
    page.goto(f"/runs/{site.runs[0]}/charts")
    canvas = page.locator("figure .u-over").first
    expect(canvas).to_be_visible()
    box = canvas.bounding_box()
    assert box
    with page.expect_request(re.compile("low=")) as zoomed:
        page.mouse.move(box["x"] + 60, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + 200, box["y"] + 60, steps=4)
        page.mouse.up()
    assert "high=" in zoomed.value.url
    with page.expect_request(re.compile("smooth=1")):
        page.locator("input[name=smooth]").fill("0.6")
    page.locator("select[name=axis]").select_option("relative")
    expect(page).to_have_url(re.compile("axis=relative"))
    with page.expect_request(re.compile("axis=relative.*smooth=1")):
        page.reload()
    expect(page.locator("input[name=smooth]")).to_have_value("0.6")


def test_nothing_hostile_runs(page: Page, site: Site) -> None:
    run = site.hostile_run
    tabs = ("", "/charts", "/artifacts/x.html", "/artifacts/x.html?scripts=1", "/environment")
    paths = ["/", f"/experiments/{site.hostile}", *(f"/runs/{run}{tab}" for tab in tabs)]
    paths += [f"/compare?run={run}&run={site.runs[0]}&tab={tab}" for tab in ("charts", "table", "parallel", "scatter")]
    for path in paths:
        page.goto(path)
        page.wait_for_timeout(300)
        assert page.title() != "owned", path


def test_an_html_artifact_is_sealed(page: Page, site: Site) -> None:
    page.goto(f"/runs/{site.runs[0]}/artifacts/report.html")
    inside = page.frame_locator("iframe").locator("#p")
    expect(inside).to_have_text("static")
    page.get_by_role("link", name="Run its scripts").click()
    expect(inside).to_have_text("ran null")
    page.goto(f"/runs/{site.runs[0]}/artifacts/table.csv")
    expect(page.get_by_role("cell", name="1", exact=True)).to_be_visible()


def test_a_broken_picture_says_so(page: Page, site: Site) -> None:
    run = site.client.new_run(site.experiment)
    put(site.client, run, "plots/broken.png", b"nothing that a browser can show")
    page.goto(f"/runs/{run}/artifacts")
    page.get_by_role("link", name="broken.png").click()
    expect(page.locator(".picture")).to_have_attribute("data-broken", "This picture cannot be shown.")


def test_theme_and_language_stay(page: Page, site: Site) -> None:
    page.goto("/")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Switch between light and dark").click()
    after = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert before != after
    page.get_by_role("link", name="繁體中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-TW")
    page.goto(f"/experiments/{site.experiment}")
    expect(page.get_by_role("button", name="比較", exact=True)).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == after


def test_notes_and_comments(page: Page, site: Site) -> None:
    page.goto(f"/runs/{site.runs[1]}")
    page.get_by_text("Write notes").click()
    page.get_by_label("Notes in Markdown").fill("**bold** note")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("[data-preview-to] strong")).to_have_text("bold")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".prose strong").first).to_have_text("bold")
    page.get_by_label("Your comment").fill("looks *good*")
    page.get_by_role("button", name="Comment", exact=True).click()
    expect(page.locator(".comment em")).to_have_text("good")
    expect(page.locator(".comment time")).to_be_visible()


def test_the_keyboard_reaches_everything(page: Page, site: Site) -> None:
    page.goto(f"/experiments/{site.experiment}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("input[name=filter]")).to_be_focused()
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("#chosen")).to_have_text("1 chosen")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/runs/[0-9a-f]{32}"))


def test_addresses_that_clients_print(page: Page, site: Site) -> None:
    page.goto(f"/projects/default/#/experiments/{site.experiment}/runs/{site.runs[0]}")
    expect(page).to_have_url(re.compile(f"/runs/{site.runs[0]}$"))
    page.goto(f"/#/experiments/{site.experiment}/runs/{site.runs[0]}")
    expect(page).to_have_url(re.compile(f"/runs/{site.runs[0]}$"))
    page.goto(f"/projects/default/runs/{site.runs[0]}")
    expect(page).to_have_url(re.compile(f"/runs/{site.runs[0]}$"))
    page.goto("/health")
    page.goto(f"/#/experiments/{site.experiment}")
    expect(page).to_have_url(re.compile(f"/experiments/{site.experiment}$"))


def test_reading_needs_no_scripts(browser: Browser, site: Site) -> None:
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"/experiments/{site.experiment}")
    expect(page.get_by_role("link", name="run-0")).to_be_visible()
    page.get_by_role("link", name="run-0").click()
    expect(page.get_by_role("rowheader", name="train/loss")).to_be_visible()
    page.goto(f"/runs/{site.runs[0]}/artifacts/table.csv")
    expect(page.get_by_role("cell", name="x")).to_be_visible()
    page.goto(f"/compare?run={site.runs[0]}&run={site.runs[1]}&tab=table")
    expect(page.get_by_role("rowheader", name="depth")).to_be_visible()
    page.goto(f"/experiments/{site.experiment}")
    page.locator('input[name="run"]').first.check()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.goto(f"/experiments/{site.experiment}?view=deleted")
    page.locator('input[name="run"]').first.check()
    page.get_by_role("button", name="Restore", exact=True).click()
    context.close()


def test_sixty_charts_are_fetched_in_few_requests(page: Page, site: Site) -> None:
    run = site.client.new_run(site.experiment)
    for key in range(60):
        points = [point(f"m{key:02}", step % 7, step) for step in range(100)]
        site.client.ok("POST", f"{API}/runs/log-batch", {"run_id": run, "metrics": points})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/series?" in request.url else None)
    page.goto(f"/runs/{run}/charts")
    expect(page.locator("figure canvas").first).to_be_visible()
    drawn = page.locator("figure canvas").count()
    assert drawn < 60, "charts out of sight are not drawn"
    assert len(asked) <= 2
    page.mouse.move(600, 400)
    deadline = time.monotonic() + 20
    while page.locator("figure canvas").count() < 60 and time.monotonic() < deadline:
        page.mouse.wheel(0, 1500)
        page.wait_for_timeout(50)
    assert page.locator("figure canvas").count() == 60
    assert len(asked) < 20
