"""The registry's pages in a real Chromium: what needs a browser to be believed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.contract.registry import FILES
from tests.e2e.browsing import chromium, window
from tests.e2e.harness import API, ARTIFACTS, Client, first_traceback, new_server

pytestmark = [pytest.mark.browser, pytest.mark.component, pytest.mark.xdist_group("ui")]

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'<!--"
BASE = "/projects/default/models"
TREE = f"{BASE}/tree"
POLICY = {
    "apiVersion": "mlwright.dev/v1",
    "kind": "GatePolicy",
    "metadata": {"name": "production"},
    "spec": {
        "models": ["tree"],
        "aliases": ["champion"],
        "gates": [
            {"name": "smoke", "command": {"command": ["sh", "-c", "sleep 0.5; echo fine"]}},
            {"name": "lead", "approval": {"notRequester": False}},
        ],
    },
}


@dataclass(frozen=True)
class Site:
    """A running server with two versions of "tree" behind gates, and a hostile model."""

    url: str
    client: Client

    def register(self, name: str) -> int:
        run = self.client.new_run()
        uri = self.client.ok("GET", f"{API}/runs/get?run_id={run}")["run"]["info"]["artifact_uri"]
        for path, content in FILES.items():
            place = f"{ARTIFACTS}/{uri.partition(':/')[2].strip('/')}/model/{path}"
            assert self.client.request("PUT", place, content).status == 200
        body = {"name": name, "source": f"{uri}/model", "run_id": run, "description": f"**bold** {HOSTILE}"}
        return int(self.client.ok("POST", f"{API}/model-versions/create", body)["model_version"]["version"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server = new_server(tmp_path_factory.mktemp("registry-ui"))
    server.start()
    client = Client(server.port)
    try:
        site = Site(server.url, client)
        client.ok("POST", "/v1/resources", POLICY)
        for name in ("tree", HOSTILE):
            client.ok("POST", f"{API}/registered-models/create", {"name": name, "description": HOSTILE})
        for name in ("tree", "tree", HOSTILE):
            site.register(name)
        yield site
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


def test_from_the_list_to_a_refusal_and_past_it(page: Page, site: Site) -> None:
    page.goto("/")
    page.get_by_role("navigation", name="Sections").get_by_role("link", name="Models").click()
    page.get_by_role("searchbox").fill("ree")
    expect(page.locator("table.models tbody tr")).to_have_count(1)
    page.get_by_role("link", name="tree").click()
    page.get_by_role("link", name="Version 1").click()
    page.locator("summary", has_text="Set alias").click()
    page.get_by_label("This alias shall lead here:").fill("champion")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("@champion may not lead to version 1")
    expect(page.get_by_role("alert").last).to_contain_text("production/lead")
    page.get_by_label("Reason").fill("the pilot begins")
    page.get_by_role("button", name="Move it nevertheless").click()
    expect(page.locator(".facts .alias")).to_have_text("@champion")
    page.get_by_role("link", name="History").click()
    expect(page.get_by_text("the pilot begins").first).to_be_visible()


def test_gates_are_followed_while_they_run(page: Page, site: Site) -> None:
    number = site.register("tree")
    page.goto(f"{TREE}/versions/{number}/gates")
    comment = page.get_by_label("Comment")
    comment.press_sequentially("half a sen")
    expect(page.locator("li.gate .status").first).to_have_text("Passed", timeout=10_000)
    expect(comment).to_have_value("half a sen")
    expect(page.locator(".facts .quiet-link")).to_contain_text("Waits for approval 1/2")
    before = int(page.locator(".badge").inner_text())
    page.get_by_role("button", name="Approve").click()
    expect(page.locator(".facts .quiet-link")).to_contain_text("Passed 2/2")
    assert page.locator(".badge").count() == 0 or int(page.locator(".badge").inner_text()) == before - 1


def test_everything_important_needs_no_scripts(browser: Browser, site: Site) -> None:
    number = site.register("tree")
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/approvals")
    entry = page.locator("ol.answers > li").first
    expect(entry).to_contain_text(f"Version {number}")
    entry.get_by_label("Comment").fill("no scripts here")
    entry.get_by_role("button", name="Reject").click()
    page.goto(f"{TREE}/gates?outcome=rejected")
    expect(page.get_by_text("no scripts here")).to_be_visible()
    page.goto(TREE)
    page.get_by_role("textbox", name="Alias").fill("trial")
    page.get_by_role("spinbutton", name="Version").fill("2")
    page.get_by_role("button", name="Set alias").click()
    expect(page.locator(".alias-line", has_text="@trial")).to_contain_text("Version 2")
    page.goto(f"{TREE}/versions/2/files/MLmodel")
    expect(page.locator("pre.code")).to_contain_text("python_function")
    page.goto(f"{TREE}/versions/2/compare?with=1")
    expect(page.get_by_role("heading", name="Environment")).to_be_visible()
    context.close()


PAGES = ["", "/gates", "/history", *(f"/versions/1{tab}" for tab in ("", "/gates", "/files", "/history", "/card"))]


def test_nothing_hostile_runs_and_nothing_is_wider_than_a_telephone(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    hostile = f"{BASE}/{quote(HOSTILE, safe='')}"
    paths = [f"{hostile}{path}" for path in PAGES] + [f"{TREE}{path}" for path in PAGES]
    for path in ("/models", "/gates", "/approvals?of=all", "/webhooks", f"{TREE}/versions/2/compare", *paths):
        page.goto(path)
        page.wait_for_timeout(50)
        assert page.title() != "owned", path
        assert page.evaluate("document.documentElement.scrollWidth") <= 400, path


def test_the_keyboard_reaches_an_alias_form(page: Page, site: Site) -> None:
    page.goto("/models")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.goto(f"{TREE}/versions/2")
    page.locator("summary", has_text="Set alias").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("This alias shall lead here:")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_label("This alias shall lead here:")).to_be_hidden()


def test_addresses_that_clients_print(page: Page, site: Site) -> None:
    page.goto("/#/models/tree/versions/1")
    expect(page).to_have_url(re.compile(f"{TREE}/versions/1$"))
    page.goto("/projects/default/#/models/tree")
    expect(page).to_have_url(re.compile(f"{TREE}$"))
