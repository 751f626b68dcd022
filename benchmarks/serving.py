"""The figures of serving: one server on one core, the load on another; mlwright, `mlflow models serve` and MLServer.

    python -m benchmarks.serving [--only NAME...] [--quick] [--side mlwright] [--json FILE]

The model is gradient boosting with 100 trees and 30 features, and has a signature: MLflow and mlwright check requests
by it. The load is wrk's. Whoever is not measured stands still. `--quick` takes one short round, to try things out.
"""

from __future__ import annotations

import hashlib
import http.client
import sys
import time
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

from benchmarks import wrk
from benchmarks.bench import PEER, Bench, Benchmark
from benchmarks.load import UnexpectedAnswerError
from benchmarks.report import Row, number
from benchmarks.servers import Server
from benchmarks.serving_servers import (
    MLSERVER,
    ONNX,
    SKLEARN,
    Models,
    endpoint,
    host,
    mlflow_serve,
    mlserver,
    python_of,
    revision,
    write_models,
)  # fmt: skip
from benchmarks.serving_sites import (
    CONNECTIONS,
    Figures,
    Site,
    burst,
    in_turn,
    infer,
    infer_binary,
    invocation,
    running,
)
from benchmarks.suite import run

UNSIGNED, OTHER = "mlflow without a signature", "MLServer 1.7.1"
#: Folders of the model that MLflow serves.
SAVED = ("signed", "unsigned")
MODELS = 50
#: Requests a second.
ONE_ROW = {"sklearn": 12_000, "onnx": 16_000}
MAX_P50_MS = 0.5
#: The graph alone takes 100 µs for 100 rows on one thread, scikit-learn's trees 60.
TABLES: dict[str, dict[str, float | None]] = {
    "JSON": {"sklearn": 4_000, "onnx": None},
    "binary": {"sklearn": 6_000, "onnx": None},
}
#: At 24 KB for each of thousands of requests a second nobody keeps all inputs.
KEPT_OF_TABLES = {"sample": 0.01}
COLD_S = {"onnx": 0.9, "sklearn": 3.3}
START_S = 120.0
MAX_MEMORY_MB = 150
MAX_SHADOW_PERCENT = 5
SHADOW_PAUSE_MS = 5
KEY = "a key of the benchmark"
MIB = 1 << 20


# --- who is measured ----------------------------------------------------------------------------------------------


def everything_on(models: Models, loader: str) -> dict[str, Any]:
    """An endpoint that does all that can be asked of one: keys, a candidate that gets a tenth, by the entity."""
    revisions = [revision(models, loader, number) for number in (1, 2)]
    keys = {"bench": hashlib.sha256(KEY.encode()).hexdigest()}
    return endpoint(f"{loader}-full", revisions, candidate=2, share=0.1, entity="customer", keys=keys)


def own_models(bench: Bench) -> dict[str, Models]:
    """Our models by loader, each in an environment with nothing but its library."""
    return {
        "sklearn": write_models(bench.root / "sklearn", python_of(SKLEARN), "sklearn"),
        "onnx": write_models(bench.root / "onnx", python_of(ONNX), "onnx"),
    }


def ours(bench: Bench) -> dict[str, Site]:
    """One host with both models."""
    both = own_models(bench)
    endpoints = [endpoint(loader, [revision(models, loader)]) for loader, models in both.items()]
    full = [everything_on(models, loader) for loader, models in both.items()]
    tables = [endpoint(f"{each['name']}-tables", each["revisions"], logging=KEPT_OF_TABLES) for each in endpoints]
    server = host(bench.root, "host", [*endpoints, *full, *tables])
    found: dict[str, Site] = {}
    for loader, models in both.items():
        found[loader] = Site(server, models, partial(infer, loader, models))
        found[f"{loader} JSON"] = Site(server, models, partial(infer, f"{loader}-tables", models))
        found[f"{loader} binary"] = Site(server, models, partial(infer_binary, f"{loader}-tables", models))
        headers = {"authorization": f"Bearer {KEY}", "x-request-id": "4bf92f3577b34da6"}
        found[f"{loader} full"] = Site(server, models, partial(infer, f"{loader}-full", models, headers=headers))
    return found


def peers(bench: Bench) -> dict[str, Site]:
    """MLflow with and without a signature, and MLServer, each with one model of scikit-learn."""
    if PEER not in bench.sides:
        return {}
    python = python_of(MLSERVER)
    other = write_models(bench.root / "mlserver-models", python, "mlserver")
    sklearn = write_models(bench.root / "mlflow-models", bench.peer_python, "mlflow")
    signed, unsigned = (mlflow_serve(bench.root, bench.peer_python, sklearn.folder / "0" / name) for name in SAVED)
    return {
        PEER: Site(signed, sklearn, partial(invocation, sklearn)),
        UNSIGNED: Site(unsigned, sklearn, partial(invocation, sklearn)),
        OTHER: Site(mlserver(bench.root, python, other.folder), other, partial(infer, "m0", other)),
    }


# --- rows ---------------------------------------------------------------------------------------------------------


def traffic(bench: Bench) -> list[Row]:
    """Requests a second, and how long one takes."""
    wrk.check()
    own, theirs = ours(bench), peers(bench)
    with running([*own.values(), *theirs.values()]):
        one = in_turn({"sklearn": own["sklearn"], "onnx": own["onnx"], **theirs}, bench.rounds, burst(bench, 1))
        alone_ = {"sklearn": own["sklearn full"], "onnx": own["onnx full"], **theirs}
        single = in_turn(alone_, bench.rounds, burst(bench, 1, connections=1))
        tables = {name: site for name, site in own.items() if name.endswith((*TABLES,))}
        hundred = in_turn({**tables, **theirs}, bench.rounds, burst(bench, 100))
    return [
        *(_rate(f"serving_{each}", f"one row as JSON, {each}", one, each, least) for each, least in ONE_ROW.items()),
        *(_latency(each, single) for each in ONE_ROW),
        *(
            _rate(f"serving_100_{each}_{kind}", f"100 rows as {kind}, {each}", hundred, f"{each} {kind}", least)
            for kind, least_of in TABLES.items()
            for each, least in least_of.items()
        ),
    ]


def _rate(name: str, label: str, found: dict[str, Figures], ours: str, least: float | None) -> Row:
    return Row(
        name=name,
        label=f"{label}, {CONNECTIONS} connections",
        unit="/s",
        peer=_figure(found, PEER, "per_second"),
        ours=found[ours]["per_second"],
        must="–" if least is None else f"≥ {least:,.0f}/s",
        min_value=least,
        note="; ".join((*_others(found, "per_second", "/s"), _costs(found, ours))),
    )


def _latency(ours: str, found: dict[str, Figures]) -> Row:
    return Row(
        name=f"serving_p50_{ours}",
        label=f"one row as JSON, {ours}, 1 connection, everything on: p50",
        unit="ms",
        peer=_figure(found, PEER, "p50_ms"),
        ours=found[ours]["p50_ms"],
        must=f"≤ {MAX_P50_MS} ms",
        better="lower",
        max_value=MAX_P50_MS,
        note="; ".join((*_others(found, "p50_ms", "ms"), _costs(found, ours))),
    )


def _figure(found: dict[str, Figures], name: str, figure: str) -> float | None:
    return found[name][figure] if name in found else None


def _others(found: dict[str, Figures], figure: str, unit: str) -> list[str]:
    return [f"{name} {number(found[name][figure], unit)}" for name in (UNSIGNED, OTHER) if name in found]


def _costs(found: dict[str, Figures], ours: str) -> str:
    return f"CPU of all our processes {number(found[ours]['cpu_us'], 'µs')} a request"


def cold(bench: Bench) -> list[Row]:
    """From the start of a host to its first right answer."""
    wrk.check()
    sites = {
        loader: Site(
            host(bench.root, f"cold-{loader}", [endpoint(loader, [revision(models, loader)])]),
            models,
            partial(infer, loader, models),
        )
        for loader, models in own_models(bench).items()
    } | peers(bench)
    found = {name: median([started(site) for _ in range(bench.rounds + 1)][1:]) for name, site in sites.items()}
    told = "; ".join(f"{name} {number(found[name], 's')}" for name in (UNSIGNED, OTHER) if name in found)
    return [
        Row(
            name=f"serving_cold_{loader}",
            label=f"start to first right prediction, {loader}",
            unit="s",
            peer=found.get(PEER),
            ours=found[loader],
            must=f"≤ {most} s",
            better="lower",
            max_value=most,
            note=told,
        )
        for loader, most in COLD_S.items()
    ]


def started(site: Site) -> float:
    """Seconds from the start of a server to its first right answer; it is stopped then."""
    begin = time.perf_counter()
    site.server.spawn()
    try:
        while True:
            try:
                site.check(1)
                return time.perf_counter() - begin
            except (OSError, http.client.HTTPException, UnexpectedAnswerError):
                if time.perf_counter() - begin > START_S:
                    raise
                time.sleep(0.005)
    finally:
        site.server.stop()


def memory(bench: Bench) -> list[Row]:
    """Many models in one host, each of which has answered."""
    wrk.check()
    sklearn = write_models(bench.root / "many-sklearn", python_of(SKLEARN), "sklearn", MODELS)
    endpoints = [endpoint(f"m{copy}", [revision(sklearn, "sklearn", copy=copy)]) for copy in range(MODELS)]
    server = host(bench.root, "many", endpoints)
    found = weighed(server, [Site(server, sklearn, partial(infer, f"m{copy}", sklearn)) for copy in range(MODELS)])
    peer, note = None, ""
    if PEER in bench.sides:
        site = peers(bench)[PEER]
        peer = weighed(site.server, [site]) * MODELS
        python = python_of(MLSERVER)
        other = write_models(bench.root / "many-mlserver", python, "mlserver", MODELS)
        many = mlserver(bench.root, python, other.folder)
        loaded = weighed(many, [Site(many, other, partial(infer, f"m{copy}", other)) for copy in range(MODELS)])
        note = f"mlflow: {MODELS} times one server; {OTHER} {number(loaded / MIB, 'MiB')}"
    return [
        Row(
            name="serving_memory",
            label=f"{MODELS} scikit-learn models in one host, PSS of all processes",
            unit="MiB",
            peer=peer and peer / MIB,
            ours=found / MIB,
            must=f"≤ {MAX_MEMORY_MB} MB",
            better="lower",
            max_value=MAX_MEMORY_MB * 1e6 / MIB,
            note=note,
        )
    ]


def weighed(server: Server, sites: Sequence[Site]) -> float:
    """Bytes of a server's processes after each site has answered."""
    server.start()
    try:
        for site in sites:
            site.check(1)
        server.settle()
        return server.pss_bytes()
    finally:
        server.stop()


def shadow(bench: Bench) -> list[Row]:
    """What a copy of every request to a second version costs those who ask, at some hundred requests a second."""
    wrk.check()
    sklearn = own_models(bench)["sklearn"]
    revisions = [revision(sklearn, "sklearn", number) for number in (1, 2)]
    endpoints = [endpoint("without", revisions, candidate=2), endpoint("mirrored", revisions, candidate=2, mirror=1.0)]
    server = host(bench.root, "shadow", endpoints)
    sites = {name: Site(server, sklearn, partial(infer, name, sklearn)) for name in ("without", "mirrored")}
    with running(sites.values()):
        found = in_turn(sites, bench.rounds * 2 + 1, burst(bench, 1, connections=1, pause_ms=SHADOW_PAUSE_MS))
    without, mirrored = (found[name]["p50_ms"] for name in ("without", "mirrored"))
    return [
        Row(
            name="serving_shadow",
            label="a shadow that gets all requests, added to p50",
            unit="%",
            peer=None,
            ours=(mirrored / without - 1) * 100,
            must=f"≤ {MAX_SHADOW_PERCENT} %",
            better="lower",
            max_value=MAX_SHADOW_PERCENT,
            note=f"{number(without, 'ms')} without, {number(mirrored, 'ms')} with, every {SHADOW_PAUSE_MS} ms",
        )
    ]


BENCHMARKS: dict[str, Benchmark] = {"traffic": traffic, "cold": cold, "memory": memory, "shadow": shadow}


def main(arguments: Sequence[str] | None = None) -> int:
    return run("benchmarks.serving", (__doc__ or "").splitlines()[0], BENCHMARKS, arguments)


if __name__ == "__main__":
    sys.exit(main())
