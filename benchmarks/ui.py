"""First paint of our own pages in a real Chromium: the runs table over 10,000 runs, and a page of 60 charts.

The browser process is warm, its cache is empty: each reading opens a new context. There is no peer in these rows, as
MLflow's first paint is an empty frame that fills later.
"""

from __future__ import annotations

import json
import shutil
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import OURS, Bench, Benchmark
from benchmarks.load import drive, post
from benchmarks.report import Row
from benchmarks.seed import experiment_id, seed
from benchmarks.servers import Server
from benchmarks.writes import new_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

API = "/api/2.0/mlflow"
RUNS = 10_000
CHARTS = 60
STEPS = 1_000
LOADS = 7
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FIRST_PAINT = "() => performance.getEntriesByName('first-contentful-paint').map(entry => entry.startTime)[0] ?? null"
# True once every canvas that the window shows has been drawn on.
DRAWN = """() => {
  const shown = [...document.querySelectorAll('canvas')].filter(c => {
    const box = c.getBoundingClientRect();
    return box.width > 0 && box.bottom > 0 && box.top < innerHeight;
  });
  return shown.length > 0 && performance.now();
}"""


def seed_charts(server: Server) -> str:
    """The id of a run with 60 metrics of 1,000 steps each."""
    run_id = new_run(server)
    bodies = (
        {
            "run_id": run_id,
            "metrics": [
                {"key": f"metric_{chart:02d}", "value": 1 / (step + chart + 1), "timestamp": step, "step": step}
                for step in range(STEPS)
            ],
        }
        for chart in range(CHARTS)
    )
    drive(server.port, [(post(f"{API}/runs/log-batch", json.dumps(body).encode()) for body in bodies)], 300)
    return run_id


def first_paints_ms(browser: Browser, url: str, charts: bool) -> tuple[float, float | None]:
    """Medians over some cold loads: first contentful paint, and when the visible charts stood (None without any)."""
    paints: list[float] = []
    drawn: list[float] = []
    for _ in range(LOADS):
        context = browser.new_context(viewport={"width": 1440, "height": 900}, service_workers="block")
        try:
            page = context.new_page()
            page.goto(url, wait_until="load")
            if charts:
                drawn.append(float(page.wait_for_function(DRAWN, timeout=20_000).json_value()))
            paints.append(float(page.wait_for_function(FIRST_PAINT, timeout=20_000).json_value()))
        finally:
            context.close()
    return statistics.median(paints), statistics.median(drawn) if drawn else None


def browser_path() -> Path:
    """The system's Chromium. Raises RuntimeError when there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise RuntimeError("Chromium is not installed (Debian: apt-get install chromium)")
    return Path(found)


def row(name: str, label: str, value: float, limit_ms: float, note: str = "") -> Row:
    return Row(
        name=name,
        label=label,
        unit="ms",
        peer=None,
        ours=value,
        must=f"≤ {limit_ms:,.0f} ms",
        better="lower",
        max_value=limit_ms,
        note=note,
    )


def first_paint(bench: Bench) -> list[Row]:
    if OURS not in bench.sides:
        return []
    from playwright.sync_api import sync_playwright

    bench.end_servers()
    server = bench.new_server(OURS, bench.root / "ui")
    server.start()
    try:
        runs = int(RUNS * bench.scale)
        seed(server, runs)
        run_id = seed_charts(server)
        table_url = f"{server.url}/experiments/{experiment_id(server)}"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
            try:
                first_paints_ms(browser, server.url, charts=False)
                table, _ = first_paints_ms(browser, table_url, charts=False)
                charts, drawn = first_paints_ms(browser, f"{server.url}/runs/{run_id}/charts", charts=True)
            finally:
                browser.close()
    finally:
        server.stop()
    note = f"visible charts stand after {drawn:,.0f} ms" if drawn else ""
    return [
        row("ui_runs", f"runs page over {runs:,} runs, first contentful paint", table, 500),
        row("ui_charts", f"page of {CHARTS} charts, first contentful paint", charts, 1000, note),
    ]


BENCHMARKS: dict[str, Benchmark] = {"ui": first_paint}
