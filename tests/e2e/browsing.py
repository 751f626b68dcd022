"""A real Chromium for tests of pages, which complains about what a page must not even try."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright


@contextmanager
def chromium(path: Path) -> Iterator[Browser]:
    """A browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(path), args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def window(browser: Browser, url: str) -> Iterator[Page]:
    """A new window; nothing may be logged as an error, and nothing refused by the content policy."""
    context = browser.new_context(base_url=url, viewport={"width": 1300, "height": 850}, locale="en-US")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))

    def said(message: ConsoleMessage) -> None:
        # What a sealed artifact tried is the policy at work; our own pages must not even try.
        if "Content Security Policy" in message.text and "/raw/" not in message.text + message.location["url"]:
            problems.append(message.text)

    page.on("console", said)
    yield page
    context.close()
    assert problems == []
