"""What is in an image besides its ground: the host's packages, our code, the model's environment, the model."""

import dis
import re
from collections.abc import Iterator
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path
from types import CodeType
from typing import Any

import mlwright
from mlwright.kernel.errors import Unavailable
from mlwright.serving.images.layers import Entry, key_of, tree
from mlwright.serving.images.notes import Package

#: Raised when the same packages are to become another layer.
RECIPE = "2"
#: Where things are in an image.
HOST, ENVIRONMENT, MODEL = "opt/mlwright", "opt/environment", "opt/model"
STATE, BILL = f"{HOST}/state.json", f"{HOST}/sbom.cdx.json"
SITE = f"{HOST}/lib"
#: Distributions that the host imports, and those that they import in turn.
_DISTRIBUTIONS = ("httptools", "msgspec", "starlette", "uvicorn", "uvloop")
_THEIRS = ("anyio", "click", "h11", "idna", "sniffio", "typing_extensions")
#: Programs that nobody imports: they are started by their paths.
_PROGRAMS = ("host_keeper", "start_model_worker", "start_container", "check_container", "modelworker.serving")
_STARTED = ("mlwright.serving.host.main", "mlwright.serving.packing")
#: What a machine adds to an environment by itself.
_LEFT_OUT = {"__pycache__", "_virtualenv.py", "_virtualenv.pth", "uv_cache.json", "direct_url.json"}
#: What compilers and type checkers read.
_DEVELOPERS = (".pyi", ".pyx", ".pxd", ".h")
#: By loader, tools that its library brings.
_TOOLS = ("datasets", "quantization", "tools", "transformers")
_SPARED = {"onnx": {*(f"onnxruntime/{name}" for name in _TOOLS), "numpy/distutils", "numpy/f2py"}}
_LICENCE = re.compile(r"License :: (?:OSI Approved :: )?(.+)")


def host_needs(minor: str, folder: Path) -> None:
    """Write down what the host needs, in the versions that run here, as files of which an environment is made."""
    pinned = [f"{name}=={metadata.version(name)}" for name in _DISTRIBUTIONS]
    for name in _THEIRS:
        try:
            pinned.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:  # theirs do without it
            continue
    (folder / "requirements.txt").write_text("\n".join(sorted(pinned)) + "\n", encoding="utf-8")
    (folder / "python_env.yaml").write_text(f"python: '{minor}'\n", encoding="utf-8")


def code() -> list[Entry]:
    """The modules of ours that the host imports, also late ones."""
    known: dict[str, Path] = {}
    left = [*_STARTED, *(f"mlwright.serving.programs.{name}" for name in _PROGRAMS)]
    while left:
        name = left.pop()
        path = _module(name) if name not in known else None
        if path is not None:
            known[name] = path
            left += [name.rpartition(".")[0], *_imported(name, path)]
    above = Path(mlwright.__file__ or "").parent.parent
    return [Entry(f"{SITE}/{path.relative_to(above)}", path) for path in known.values()]


def code_key() -> str:
    """Says whether our modules are the same as before, without reading them."""
    above = Path(mlwright.__file__ or "").parent
    paths = sorted(path for slice_ in ("kernel", "serving") for path in (above / slice_).rglob("*.py"))
    return key_of([Entry(str(path), path) for path in (above / "__init__.py", *paths)])


def _module(name: str) -> Path | None:
    """The file of a module of ours; None for what is no module, such as a name in one."""
    if name.partition(".")[0] != "mlwright":
        return None
    above = Path(mlwright.__file__ or "").parent.parent.joinpath(*name.split("."))
    return next((path for path in (above / "__init__.py", above.with_suffix(".py")) if path.is_file()), None)


def _imported(name: str, path: Path) -> Iterator[str]:
    """Names that a module imports, wherever in it. Some are not modules but what is in them.

    From byte code: Python 3.11 fails now and then when two threads make syntax trees.
    """
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    codes = [compile(path.read_bytes(), path, "exec", dont_inherit=True)]
    while codes:
        code = codes.pop()
        codes += [each for each in code.co_consts if isinstance(each, CodeType)]
        loaded: list[Any] = [0, None]  # how many folders above, and what is wanted from there
        for each in dis.get_instructions(code):
            if each.opname.startswith("LOAD_"):
                loaded = [loaded[-1], each.argval]
            elif each.opname == "IMPORT_NAME":
                level, wanted = loaded
                above = package.rsplit(".", level - 1)[0] if level else ""
                base = ".".join(filter(None, (above, each.argval)))
                yield from (base, *(f"{base}.{each}" for each in wanted or ()))


def packages_of(environment: Path, minor: str, place: str, loader: str = "") -> list[Entry]:
    """The packages of a virtual environment, as entries below `place`, without what is of use to developers only.

    Args:
        loader: of the model; what it never imports is left out, too.
    """
    site = environment / "lib" / f"python{minor}" / "site-packages"
    if not site.is_dir():
        raise Unavailable(f"{environment} has no packages for Python {minor}")

    def is_left_out(path: str) -> bool:
        above, _, name = path.rpartition("/")
        is_for_developers = name.endswith(_DEVELOPERS) or (name == "tests" and (site / above / "__init__.py").is_file())
        return name in _LEFT_OUT or is_for_developers or path in _SPARED.get(loader, ())

    return list(tree(site, f"{place}/", is_left_out))


def environment(python: str) -> list[Entry]:
    """What makes a virtual environment of the model's packages, whose Python is that of the image."""
    settings = f"home = {python.rpartition('/')[0]}\ninclude-system-site-packages = false\n"
    return [
        Entry(f"{ENVIRONMENT}/bin/python", None, 0o777, python),
        Entry(f"{ENVIRONMENT}/pyvenv.cfg", settings.encode()),
    ]


def distributions(folder: Path, minor: str) -> list[Package]:
    """What is installed in a virtual environment, with its licences as far as it tells them."""
    found = []
    for path in sorted((folder / "lib" / f"python{minor}" / "site-packages").glob("*.dist-info/METADATA")):
        told = HeaderParser().parsestr(path.read_text(encoding="utf-8", errors="replace"))
        classified = [_LICENCE.fullmatch(each) for each in told.get_all("Classifier") or []]
        licence = told.get("License-Expression") or next((each[1] for each in classified if each), "")
        name = re.sub(r"[-_.]+", "-", told["Name"]).lower()
        found.append(Package("pypi", name, told["Version"], licence=licence))
    return found
