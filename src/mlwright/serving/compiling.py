"""Compiles versions to ONNX, which answers one row many times cheaper, and proves that it answers the same.

The proof is by rows: those that are stored with the version, and others near them. Labels must be equal, and numbers
within a tolerance; what differs is refused, with its numbers.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from mlwright.compute import service
from mlwright.compute.spec import Environment, Limits
from mlwright.serving import programs
from mlwright.serving.host.takes import takes_of
from mlwright.serving.running import Running, needs

_PROGRAM = Path(programs.__file__ or "").parent / "compile_onnx.py"
#: skl2onnx puts truth values among whole numbers, which protobuf 7 does not take.
_CONVERTERS = ("onnx", "onnxruntime", "protobuf<7", "skl2onnx")
#: By loader, the converter of its library, which builds on the others.
_MORE = {"xgboost": ("onnxmltools",), "lightgbm": ("onnxmltools",), "sklearn": ("onnxmltools",)}
_LIMITS = Limits(600.0, 4 << 30)
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "HOME", "TMPDIR")
_FILE, _REPORT = "model.onnx", "report.json"


class Compared(msgspec.Struct, frozen=True):
    """How two answers to the same rows differ.

    Attributes:
        of: "answers", or "probabilities", by which classifiers are compared besides.
        mismatches: values that are not the same, within the tolerance.
        largest: difference of numbers; of labels, 1 when any differs.
    """

    of: str
    values: int
    mismatches: int
    largest: float


class Proof(msgspec.Struct, frozen=True):
    """The evidence.

    Attributes:
        verdict: "same" or "refused".
        reason: of a refusal.
        rows: how many were stored, and how many made near them ("perturbed").
        compared: stored rows first, then perturbed ones.
        inputs: "matrix" when the graph takes one array, "columns" when it takes one per column.
        tolerance: numbers may differ by it, times the number or what is usual among them.
        versions: of the libraries that took part.
        digest: of the graph, as "sha256:…".
    """

    verdict: str
    reason: str = ""
    rows: dict[str, int] = {}
    compared: list[Compared] = []
    inputs: str = "matrix"
    tolerance: float = 0.0
    versions: dict[str, str] = {}
    seconds: float = 0.0
    seed: int = 0
    digest: str = ""


class Compiled(msgspec.Struct, frozen=True):
    """A graph that is proved to answer the same.

    Attributes:
        folder: with `model.onnx` and `report.json`.
        options: for the loader "onnx".
    """

    folder: Path
    report: Proof
    options: dict[str, str]


class Refused(msgspec.Struct, frozen=True):
    """Why there is none."""

    report: Proof


def needs_to_compile(model: Path, how: Running, folder: Path) -> Path:
    """Files in the empty folder, from which `Environments` makes the environment that compiles.

    Returns the model's own folder where its packages are locked: nothing can be added to it, and `compile_model`
    refuses then, unless it has the converters already.
    """
    asked = needs(model, how, folder)
    listed = asked / "requirements.txt"
    if asked != folder:
        return model
    lines = listed.read_text(encoding="utf-8").splitlines()
    present = {_name(line) for line in lines}
    wanted = [*_CONVERTERS, *(_MORE.get(how.loader, ()) if _trees(present) else ())]
    listed.write_text(
        "\n".join([*lines, *(each for each in wanted if _name(each) not in present)]) + "\n", encoding="utf-8"
    )
    return folder


def _name(line: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", line.strip(), maxsplit=1)[0].lower()


def _trees(present: set[str]) -> bool:
    return any(name.startswith(("xgboost", "lightgbm")) for name in present)


def needs_to_serve(report: Proof, how: Running, python: str, folder: Path) -> Path:
    """Files in the folder, from which `Environments` makes what runs the graph: a few packages."""
    names = ["numpy", "onnxruntime"]
    lines = [f"{name}=={report.versions[name]}" for name in names]
    if report.inputs == "columns" and takes_of(how.signature).table:
        lines.append("pandas")
    (folder / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "python_env.yaml").write_text(f"python: '{python}'\n", encoding="utf-8")
    return folder


def compile_model(
    model: Path,
    how: Running,
    environment: Environment,
    rows: Sequence[Path],
    target: Path,
    *,
    tolerance: float = 1e-5,
    perturbed: int = 10_000,
    seed: int = 1,
    limits: Limits = _LIMITS,
    cancelled: service.Flag | None = None,
    variables: Mapping[str, str] = os.environ,
) -> Compiled | Refused:
    """Compile a version whose files may be loaded; blocks. Whatever goes wrong is a refusal that says so.

    Args:
        model: the version's folder.
        environment: made of `needs_to_compile`, and held by the caller.
        rows: files with stored rows: JSON in MLflow's words, CSV, or Parquet. The input example is added.
        target: an empty folder for the graph and its proof.
        tolerance: numbers may differ by it, times the number or what is usual among them.
        perturbed: rows near the stored ones that are tried, too.
        variables: of which a few are handed on.
    """
    takes = takes_of(how.signature)
    if how.loader in {"onnx", "mlflow", "pytorch"}:
        return _refused(target, f"models that are loaded by {how.loader} are not compiled")
    example = [model / how.example] if how.example else []
    request = {
        "folder": str(model),
        "loader": how.loader,
        "options": how.options,
        "generic": how.generic,
        "columns": [[each.name, each.kind] for each in takes.inputs] if takes.table else [],
        "matrix": bool(takes.matrix),
        "rows": [str(path) for path in [*rows, *example]],
        "target": str(target),
        "tolerance": tolerance,
        "perturbed": perturbed,
        "seed": seed,
    }
    asked = target / "request.json"
    asked.write_bytes(msgspec.json.encode(request))
    # Not -I, which would ignore the seed: with another one the converter writes another graph. No variable of Python's
    # is handed on but this.
    command = [str(environment.interpreter), "-s", str(_PROGRAM), str(asked)]
    handed = {name: variables[name] for name in _PASSED_ON if name in variables} | {"PYTHONHASHSEED": "0"}
    outcome = service.run(command, target, handed, limits, cancelled)
    asked.unlink()
    if not outcome.succeeded or not (target / _REPORT).is_file():
        last = " ".join(outcome.output.split())[-500:]
        return _refused(target, f"{outcome.explain(limits)}: {last}")
    report = msgspec.json.decode((target / _REPORT).read_bytes(), type=Proof)
    if report.verdict != "same":
        return Refused(_kept(target, report))
    with (target / _FILE).open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    return Compiled(target, _kept(target, msgspec.structs.replace(report, digest=digest)), {"data": _FILE})


def _refused(target: Path, reason: str) -> Refused:
    return Refused(_kept(target, Proof("refused", reason)))


def _kept(target: Path, report: Proof) -> Proof:
    """Write the evidence down; there is no graph that is not proved."""
    if report.verdict != "same":
        (target / _FILE).unlink(missing_ok=True)
    (target / _REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(report, order="deterministic"), indent=2))
    return report
