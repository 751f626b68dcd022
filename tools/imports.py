"""The architecture as import contracts: written here once, checked by import-linter in `make lint`.

    python -m tools.imports [--source src]

The contracts are made from what exists: a slice or a backend that is not there yet breaks nothing, and a
new slice is covered on the day it appears.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

PACKAGE = "mlwright"

# From the top to the bottom. Members of one tier do not import each other.
TIERS: tuple[tuple[str, ...], ...] = (
    ("app",),
    ("engineer", "backends"),
    ("monitoring", "cost", "ops", "infra"),
    ("pipelines", "serving"),
    ("registry", "features", "reproduction"),
    ("tracking", "artifacts", "compute", "security"),
    ("web",),
    ("kernel",),
)
NOT_SLICES = {"app", "backends", "web", "kernel"}
# Modules beside the tiers: they may import what they like, nobody may be above them.
ENTRY_POINTS = ("__main__",)

# A slice is entered through these only; `ports` are what backends implement.
# `scanning`, `signing` and `supply` are libraries of security without state: gates and loaders use them.
OPEN_TO_ALL = {"spec", "service", "scanning", "signing", "supply"}
OPEN_TO_BACKENDS = {"ports"}

# A module may speak HTTP when one part of its path is one of these: faces, wiring, and foreign protocols.
HTTP_PARTS = {"api", "ui", "app", "web", "mlflow", "oip", "grafana", "prometheus"}
# The base that all faces share: named one by one, so that each addition is a decision.
HTTP_MODULES = {
    "mlwright.artifacts.transfer",  # streams bodies to and from the artifact store
    "mlwright.kernel.exchange",  # a request and its answer, as ASGI has them
    "mlwright.kernel.http",
    "mlwright.kernel.openapi",
    "mlwright.kernel.protocol",  # a connection
    "mlwright.kernel.protojson",
    "mlwright.serving.host.control",
    "mlwright.serving.host.main",
}
HTTP_LIBRARIES = ("starlette", "uvicorn")

VENDOR_CLIENTS = (
    "airflow", "azure", "boto3", "botocore", "docker", "google", "kfp", "kopf", "kubeflow", "kubernetes",
    "kubernetes_asyncio", "obstore", "prometheus_api_client", "psycopg", "psycopg_pool", "ray", "redis",
    "snowflake",
)  # fmt: skip
VENDOR_MODULES = {
    "mlwright.serving.host.grpc.messages",  # Google's package of protocol buffers; nobody is called
}
# Too heavy or too foreign for any process of ours.
NEVER = ("fastapi", "flask", "litestar", "mlflow", "pandas", "pydantic")


def find_modules(source: Path) -> list[str]:
    """Return the dotted names of all modules of the package, packages included."""
    names = []
    for path in sorted((source / PACKAGE).rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def children(modules: Iterable[str], parent: str) -> list[str]:
    """Return the last names of the direct children of a package."""
    depth = parent.count(".") + 1
    return sorted({name.split(".")[depth] for name in modules if name.startswith(f"{parent}.")})


def section(key: str, title: str, kind: str, **options: str | Iterable[str]) -> str:
    """Return one contract in import-linter's ini form."""
    lines = [f"[importlinter:contract:{key}]", f"name = {title}", f"type = {kind}"]
    for name, value in options.items():
        if isinstance(value, str):
            lines.append(f"{name} = {value}")
        else:
            lines.append(f"{name} =")
            lines += [f"    {item}" for item in value]
    return "\n".join(lines) + "\n"


def forbidden(key: str, title: str, sources: Iterable[str], libraries: Iterable[str]) -> str:
    """Return a contract: these modules do not import these libraries themselves."""
    return section(
        key, title, "forbidden",
        source_modules=list(sources), forbidden_modules=list(libraries),
        allow_indirect_imports="True", as_packages="False",
    )  # fmt: skip


def may_speak_http(module: str) -> bool:
    """True for faces, wiring, foreign protocols and the base that they share."""
    in_base = any(module == name or module.startswith(f"{name}.") for name in HTTP_MODULES)
    return in_base or not HTTP_PARTS.isdisjoint(module.split("."))


def may_use_vendors(module: str) -> bool:
    """True for backends and for the PostgreSQL part of the kernel's database."""
    parts = module.split(".")
    if module in VENDOR_MODULES:
        return True
    return "backends" in parts[1:2] or (parts[1:2] == ["kernel"] and "postgres" in parts[-1])


def contracts(modules: list[str]) -> list[str]:
    """Return all contracts for the modules that exist."""
    top = set(children(modules, PACKAGE))
    layers = [" | ".join(name for name in tier if name in top) for tier in TIERS]
    result = [
        section(
            "tiers", "Tiers: app > engineer, backends > tier 4 > 3 > 2 > 1 > web > kernel", "layers",
            layers=[layer for layer in layers if layer], containers=[PACKAGE],
            exhaustive="True", exhaustive_ignores=[name for name in ENTRY_POINTS if name in top] or "",
        ),
        section("cycles", "No cycles between siblings", "acyclic_siblings", ancestors=[PACKAGE]),
    ]  # fmt: skip
    for name in sorted(top & {name for tier in TIERS for name in tier} - NOT_SLICES):
        own, wiring = f"{PACKAGE}.{name}", f"{PACKAGE}.app"
        inner = children(modules, own)
        importers = [own] + [wiring] * ("app" in top)
        private = [f"{own}.{child}" for child in inner if child not in OPEN_TO_ALL | OPEN_TO_BACKENDS]
        ports = [f"{own}.{child}" for child in inner if child in OPEN_TO_BACKENDS]
        title = f"{name} is entered through spec and service"
        if private:
            result.append(section(name, title, "protected", protected_modules=private, allowed_importers=importers))
        if ports:
            allowed = importers + [f"{PACKAGE}.backends"] * ("backends" in top)
            result.append(
                section(f"{name}-ports", f"{name}'s ports are for backends", "protected",
                        protected_modules=ports, allowed_importers=allowed)
            )  # fmt: skip
    silent = [name for name in modules if not may_speak_http(name)]
    neutral = [name for name in modules if not may_use_vendors(name)]
    result.append(forbidden("http", "HTTP only in faces, wiring and kernel.http", silent, HTTP_LIBRARIES))
    result.append(forbidden("vendors", "Vendor clients only in backends", neutral, VENDOR_CLIENTS))
    result.append(forbidden("never", "Libraries that no process of ours loads", modules, NEVER))
    return result


def configuration(source: Path) -> str:
    """Return the whole import-linter configuration for a source folder."""
    head = "\n".join(
        (
            "[importlinter]",
            f"root_package = {PACKAGE}",
            "include_external_packages = True",
            "exclude_type_checking_imports = True",
        )
    )
    return "\n".join([head + "\n", *contracts(find_modules(source))])


def check(source: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over a source folder and return its finished process."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "contracts.ini"
        config.write_text(configuration(source))
        command = [str(Path(sys.executable).parent / "lint-imports"), str(config), "--no-cache", "--no-logo"]
        # First on the path: the folder to be checked, not an installed copy of the package.
        environment = os.environ | {"PYTHONPATH": str(source), "NO_COLOR": "1"}
        return subprocess.run(
            command,
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )


def main() -> None:
    """Check the source folder; exit 1 with import-linter's words when a contract is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path("src"))
    parser.add_argument("--show", action="store_true", help="print the contracts and check nothing")
    options = parser.parse_args()
    source = options.source.resolve()
    if options.show:
        print(configuration(source))
        return
    done = check(source)
    if done.returncode != 0:
        raise SystemExit(done.stdout)
    print(f"imports: {len(contracts(find_modules(source)))} contracts kept")


if __name__ == "__main__":
    main()
