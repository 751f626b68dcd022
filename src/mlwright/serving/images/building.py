"""Builds the image of a version: the host, the version and its environment on a ground, each a layer of its own.

The layers are ordered by how often they change. What is known again is not written again, so that a new version costs
what its own files cost.
"""

import platform
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from mlwright import __version__
from mlwright.compute.spec import Environment, Limits
from mlwright.kernel.errors import Invalid, NoEnvironment
from mlwright.serving.compiling import needs_to_compile, needs_to_serve
from mlwright.serving.host.state import Desired, Revision, Served
from mlwright.serving.images import content, given, graphs
from mlwright.serving.images.archive import Image, Part, image
from mlwright.serving.images.bytecode import compiler
from mlwright.serving.images.content import ENVIRONMENT, HOST, MODEL, SITE, STATE
from mlwright.serving.images.debian import Base, Debian
from mlwright.serving.images.graphs import Graph
from mlwright.serving.images.layers import Entry, Layer, Layers, key_of, tree
from mlwright.serving.images.materials import Subject, bill
from mlwright.serving.images.notes import Made, described, noted
from mlwright.serving.running import Running, needs, running
from mlwright.serving.spec import Logging

_LIMITS = Limits(1_800.0, 8 << 30)
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
#: https://github.com/distribution/reference
_NAME = re.compile(r"([a-z0-9][a-z0-9.-]*(:\d+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*(:\w[\w.-]{0,127})?", re.ASCII)
_USER = "65532:65532"
_PORT = 8080
_SECOND_NS = 1_000_000_000
_PROGRAMS = f"/{SITE}/mlwright/serving/programs"
_LABEL = "dev.mlwright"


class Environments(Protocol):
    """Builds what models need to run; blocks."""

    def ready(
        self, model: Path, limits: Limits, *, builds: bool = False, exact: bool = False
    ) -> AbstractContextManager[Environment]:
        """The environment for the files in a folder, kept for the length of the block."""
        ...


class Source(NamedTuple):
    """A version whose files are here, and proved to be those that were registered.

    Attributes:
        digest: of all files, as "sha256:…".
        files: SHA-256 in hexadecimal, by path.
        commit, repository: of the code that its run was started from; empty when unknown.
    """

    name: str
    project: str
    version: int
    digest: str
    folder: Path
    files: Mapping[str, str]
    run_id: str = ""
    commit: str = ""
    repository: str = ""


class Wishes(NamedTuple):
    """What somebody wants of an image.

    Attributes:
        endpoint: the name under which it answers; the model's when empty.
        tag: the image's name; made of the model's and the version's when empty.
        platform: such as "linux/amd64"; that of this machine when empty.
        base: its ground, as `given.base` reads it; of Debian's packages when empty.
        pull: the newest of these packages, not those of the last time.
        builds: packages without a wheel are built, which runs their code.
        onnx: the model is compiled, which loads it here, and refused when the graph answers otherwise.
        rows: files with rows on which that is proved, besides the input example.
    """

    endpoint: str = ""
    tag: str = ""
    platform: str = ""
    base: str = ""
    pull: bool = False
    builds: bool = False
    onnx: bool = False
    rows: tuple[Path, ...] = ()


class Built(NamedTuple):
    """An image, and what it was made of."""

    image: Image
    bill: bytes
    platform: str
    python: str
    layers: Layers


class Builder:
    """Args:
    folder: where layers are kept.
    environments: makes those of models, and that of the host.
    say: told what takes long.
    """

    def __init__(self, folder: Path, environments: Environments, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._environments = environments
        self._say = say
        self.layers = Layers(folder / "layers")

    def build(self, source: Source, wishes: Wishes) -> Built:
        """Build it. Raises Invalid, NoEnvironment and Unavailable with what to do."""
        architecture, name = _architecture(wishes.platform), _tagged(wishes.tag, source)
        how, model = running(source.folder), self._files(source)
        if wishes.onnx and how.loader != "onnx":  # one that is a graph already stays as it is
            graph = self._graph(source, how, wishes)
            how, model = graph.how, (f"graph {graph.proof.digest} of {source.digest}", graph.entries)
            environment = self._environment_of_graph(graph, how)
        else:
            environment = self._environment(source, how, builds=wishes.builds)
        minor = environment.python
        host = self._host(minor)
        base = self._base(wishes, minor, architecture)
        packages = [*base.packages, *host.packages, *environment.packages]
        materials = bill(Subject(source.name, source.version, _hex(source.digest), source.files), packages)
        parts = [
            *(Part(layer, f"ground: {base.described}") for layer in base.layers),
            Part(host.layer, "packages of the serving host"),
            Part(self._code(minor), f"mlwright {__version__}"),
            Part(environment.layer, f"environment of the model: {len(environment.packages)} packages"),
            Part(self._link(base.python), f"its Python {minor}"),
            Part(self.layers.layer(model[0], lambda: model[1]), f"model {source.name}, version {source.version}"),
            Part(self._state(source, wishes, how, materials), "what is served, and the bill of materials"),
        ]
        settings = _settings(source, wishes, base, how)
        return Built(image(name, architecture, settings, parts), materials, f"linux/{architecture}", minor, self.layers)

    def collect(self, before_s: float) -> None:
        """Remove what no image has needed since a Unix time in seconds."""
        self.layers.collect(before_s)
        notes = self._folder / "notes"
        for note in notes.iterdir() if notes.is_dir() else ():
            with suppress(FileNotFoundError):  # somebody else was faster
                if note.stat().st_mtime < before_s:
                    note.unlink()

    def _base(self, wishes: Wishes, minor: str, architecture: str) -> Base:
        if wishes.base:
            return given.base(wishes.base, minor, architecture, self.layers)
        debian = Debian(self.layers, self._folder / "notes", self._say)
        return debian.base(minor, architecture, pull=wishes.pull)

    def _environment(self, source: Source, how: Running, *, builds: bool) -> Made:
        """The packages of the model."""
        with tempfile.TemporaryDirectory(prefix="mlwright-image-") as folder:
            asked = needs(source.folder, how, Path(folder))
            key = f"{builds} {how.loader} {how.generic.get('python_version')} {described(asked)}"
            place = f"{ENVIRONMENT}/lib/python{{minor}}/site-packages"
            return self._made("of the model", key, asked, place, how.loader, builds=builds)

    def _graph(self, source: Source, how: Running, wishes: Wishes) -> Graph:
        """The version, compiled and proved."""
        place = graphs.place_of(self._folder / "graphs", source.digest, wishes.rows)
        found = graphs.kept(place, source.folder, how)
        if found is not None:
            return found
        self._say("compiling the model to ONNX")
        with tempfile.TemporaryDirectory(prefix="mlwright-image-") as folder:
            asked = needs_to_compile(source.folder, how, Path(folder))
            with self._environments.ready(asked, _LIMITS, builds=wishes.builds) as environment:
                return graphs.compiled(place, source.folder, how, environment, wishes.rows)

    def _environment_of_graph(self, graph: Graph, how: Running) -> Made:
        """The few packages that run a graph."""
        with tempfile.TemporaryDirectory(prefix="mlwright-image-") as folder:
            asked = needs_to_serve(graph.proof, how, graph.proof.versions["python"], Path(folder))
            place = f"{ENVIRONMENT}/lib/python{{minor}}/site-packages"
            return self._made("of the graph", f"onnx {described(asked)}", asked, place, "onnx")

    def _host(self, minor: str) -> Made:
        """The packages of the host, for the same Python."""
        with tempfile.TemporaryDirectory(prefix="mlwright-image-") as folder:
            content.host_needs(minor, Path(folder))
            made = self._made("of the host", described(Path(folder)), Path(folder), SITE, "")
        if made.python != minor:
            raise NoEnvironment(f"the host needs Python {minor} too, and there is {made.python}")
        return made

    def _made(self, whose: str, key: str, asked: Path, place: str, loader: str, *, builds: bool = False) -> Made:
        """Packages as a layer, known again by what is asked for."""

        def make() -> Made:
            self._say(f"making the environment {whose}")
            return self._packages(asked, place, loader, builds=builds)

        return noted(self._folder / "notes", f"packages {content.RECIPE} {key} {place}", self.layers, make)

    def _packages(self, asked: Path, place: str, loader: str, *, builds: bool) -> Made:
        with self._environments.ready(asked, _LIMITS, builds=builds) as found:
            if found.unavailable:
                raise NoEnvironment(f"only conda has {', '.join(found.unavailable)[:300]}")
            if not found.is_as_asked:
                self._say(f"the model asks for Python {found.asked}; there is {found.python}, which is taken")
            folder, minor = Path(found.folder), ".".join(found.python.split(".")[:2])
            entries = content.packages_of(folder, minor, place.format(minor=minor), loader)
            self._say(f"writing a layer of {len(entries):,} files")
            with compiler(found.interpreter, minor) as compile_:
                key = f"compiled {key_of(entries)}"
                layer = self.layers.layer(key, lambda: [*entries, *compile_.compiled(entries)])
            return Made(layer, content.distributions(folder, minor), minor)

    def _code(self, minor: str) -> Layer:
        """Our own modules. Their byte code is of this Python, and no use to another."""

        ours = f"{sys.version_info.major}.{sys.version_info.minor}"
        with compiler(Path(sys.executable), ours) as compile_:

            def whole() -> list[Entry]:
                entries = content.code()
                return [*entries, *(compile_.compiled(entries) if minor == ours else ())]

            return self.layers.layer(f"code {minor} {content.code_key()}", whole)

    def _link(self, python: str) -> Layer:
        return self.layers.files(content.environment(python))

    def _files(self, source: Source) -> tuple[str, list[Entry]]:
        """The version's own files, and what they are known by."""
        return f"model {source.digest}", list(tree(source.folder, f"{MODEL}/"))

    def _state(self, source: Source, wishes: Wishes, how: Running, materials: bytes) -> Layer:
        revision = Revision(
            number=source.version, model=source.name, version=source.version, folder=f"/{MODEL}",
            python=f"/{ENVIRONMENT}/bin/python", loader=how.loader, options=how.options, generic=how.generic,
            signature=how.signature, example=f"/{MODEL}/{how.example}" if how.example else "", digest=source.digest,
        )  # fmt: skip
        # Nobody reads a log of predictions that lies in a container, and it would fill its memory.
        unlogged = Logging(predictions=False)
        name = wishes.endpoint or source.name
        served = Served(name, source.project, source.version, [revision], logging=unlogged)
        state = msgspec.json.encode(Desired(1, [served]), order="deterministic")
        return self.layers.files([Entry(STATE, state), Entry(content.BILL, materials)])


def _settings(source: Source, wishes: Wishes, base: Base, how: Running) -> dict[str, Any]:
    """How a container of the image runs."""
    variables = {
        "HOME": "/tmp",  # noqa: S108 - of a container
        "LANG": "C.UTF-8",
        "MLWRIGHT_PORT": str(_PORT),
        "PATH": base.python.rpartition("/")[0],
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"/{SITE}",
        "PYTHONUNBUFFERED": "1",
    }
    check = {"Interval": 10 * _SECOND_NS, "Retries": 3, "StartPeriod": 60 * _SECOND_NS, "Timeout": 5 * _SECOND_NS}
    return {
        "Entrypoint": [base.python, "-I", f"{_PROGRAMS}/start_container.py", f"/{STATE}"],
        "Env": [f"{name}={variables[name]}" for name in sorted(variables)],
        "ExposedPorts": {f"{_PORT}/tcp": {}},
        "Healthcheck": {**check, "Test": ["CMD", base.python, "-I", f"{_PROGRAMS}/check_container.py"]},
        "Labels": _labels(source, wishes, base, how),
        "StopSignal": "SIGTERM",
        "User": _USER,
        "WorkingDir": f"/{HOST}",
    }


def _labels(source: Source, wishes: Wishes, base: Base, how: Running) -> dict[str, str]:
    """Where it comes from: https://github.com/opencontainers/image-spec/blob/main/annotations.md and our own."""
    found = {
        "org.opencontainers.image.base.name": base.described,
        "org.opencontainers.image.description": f"Predictions of {source.name}, version {source.version}.",
        "org.opencontainers.image.revision": source.commit,
        "org.opencontainers.image.source": source.repository,
        "org.opencontainers.image.title": source.name,
        "org.opencontainers.image.version": str(source.version),
        f"{_LABEL}.digest": source.digest,
        f"{_LABEL}.endpoint": wishes.endpoint or source.name,
        f"{_LABEL}.loader": how.loader,
        f"{_LABEL}.model": source.name,
        f"{_LABEL}.project": source.project,
        f"{_LABEL}.release": __version__,
        f"{_LABEL}.run-id": source.run_id,
        f"{_LABEL}.sbom": f"/{content.BILL}",
        f"{_LABEL}.version": str(source.version),
    }
    return {name: value for name, value in found.items() if value}


def _architecture(asked: str) -> str:
    """Of this machine, in the words of Go. Raises Invalid when another one is asked for."""
    here = _MACHINES.get(platform.machine(), platform.machine())
    if asked not in {"", f"linux/{here}"}:
        hint = "its packages are those of the machine that builds: build there"
        raise Invalid(f"this machine builds for linux/{here}, not for {asked}", path="--platform", hint=hint)
    return here


def name_of(model: str, version: int) -> str:
    """A name of an image that registries take: https://github.com/distribution/reference"""
    name = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-") or "model"
    return f"mlwright/{name}:{version}"


def _tagged(tag: str, source: Source) -> str:
    """The image's name with its tag. Raises Invalid for what no registry takes."""
    if not tag:
        return name_of(source.name, source.version)
    if not _NAME.fullmatch(tag):
        hint = "such as registry.example.org/team/flights:3"
        raise Invalid(f"{tag[:200]!r} is no name of an image", path="--tag", hint=hint)
    return tag if ":" in tag.rpartition("/")[2] else f"{tag}:{source.version}"


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
