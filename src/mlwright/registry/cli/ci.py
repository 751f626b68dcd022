"""`mlwright ci`."""

import os
import shlex
import uuid
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import msgspec

from mlwright.kernel.cli import output_option, show, with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import AlreadyExists, GateClosed, NotFound
from mlwright.registry.ci import summary, training
from mlwright.registry.ci.spec import FILE, CiSpec, read
from mlwright.registry.ci.training import JOB_TAG, Source, Trained
from mlwright.registry.cli.naming import find_version, model_path
from mlwright.registry.cli.standings import Found, closed, gates_path, in_words, report, require_server, settled

_API = "/api/2.0/mlflow"
#: Files that are written, by what they are called in mlwright's own folder.
_WORKFLOWS = {"github": ".github/workflows/mlwright.yml", "gitlab": ".gitlab-ci.yml"}
_COMMON = {"mlwright-ci.yaml": FILE, "mlwright-gates.yaml": "mlwright-gates.yaml"}
_COLUMNS = ["version", "digest", "run_id", "verdict", "alias"]
_PATH = click.Path(path_type=Path, dir_okay=False)


@click.group()
def ci() -> None:
    """Continuous integration: train, register, gate and promote in one command."""


@ci.command("init")
@click.argument("service", type=click.Choice(sorted(_WORKFLOWS)))
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Of the repository.")
@click.option("--model", default="my-model", show_default=True, help="Name of the registered model.")
@click.option("--train", default="python train.py", show_default=True, help="The training program.")
@click.option("--force", is_flag=True, help="Replace files that say something else.")
def init(service: str, folder: Path, model: str, train: str, force: bool) -> None:
    """Write a workflow for SERVICE, what it does (mlwright-ci.yaml), and gates to begin with."""
    words = {"MODEL": _quoted(model), "TRAIN": _quoted(shlex.split(train))}
    wanted = {service: _WORKFLOWS[service], **_COMMON}
    texts = {target: _filled(f"{name.removesuffix('.yaml')}.yaml", words) for name, target in wanted.items()}
    present = [target for target, text in texts.items() if _is_other(folder / target, text)]
    if present and not force:
        raise AlreadyExists(f"{', '.join(present)} exist already", path=present[0], hint="--force replaces them")
    for target, text in texts.items():
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        (folder / target).write_text(text, encoding="utf-8")
        click.echo(target)


def _is_other(path: Path, text: str) -> bool:
    """Whether something else than this text is there."""
    try:
        return path.read_bytes() != text.encode()
    except FileNotFoundError:
        return False
    except OSError:  # a folder, or not ours to read
        return True


def _filled(name: str, words: dict[str, str]) -> str:
    text = (files("mlwright.registry.ci") / "templates" / name).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def _quoted(value: str | list[str]) -> str:
    """As YAML, of which JSON is a part."""
    return msgspec.json.encode(value).decode()


@ci.command("run")
@click.option(
    "--file", "-f", "description", type=_PATH, default=Path(FILE), show_default=True, help="What is to be done."
)
@click.option("--junit", type=_PATH, help="Write the gates' answers as JUnit.")
@click.option("--sarif", type=_PATH, help="Write what does not pass as SARIF.")
@click.option("--markdown", type=_PATH, help="Write a summary [env: GITHUB_STEP_SUMMARY, which is appended to].")
@click.option("--require-approval", is_flag=True, help="Fail also when only people's approval is missing.")
@with_client
@output_option
def run(
    client: Client,
    description: Path,
    junit: Path | None,
    sarif: Path | None,
    markdown: Path | None,
    require_approval: bool,
    output: str,
) -> None:
    """Train, register the model, wait for its gates, and have an alias lead to it when they passed.

    Exits with 0 when all gates are passed that do not wait for people, with 5 when not or when training fails, with 1
    when it logs no model, and with 2 when what is asked makes no sense.
    """
    require_server(client)
    spec, source, job = read(description), training.source_of(os.environ), uuid.uuid4().hex
    training.train(client, spec, job, source, os.environ)
    trained = training.find(client, spec, job)
    version = _registered(client, spec, trained, job, source)
    name = f"{version['name']}/{version['version']}"
    click.echo(f"registered {name}", err=True)
    client.post(gates_path(name), {"policy": spec.policy})
    found = settled(client, name, spec.policy, version["project"])
    missing = closed(found)
    failed = [each for each in missing if each["kind"] not in {"approval", "signature"}]
    alias = spec.alias if spec.alias and not missing else ""
    if alias:
        client.put(f"{model_path(version['name'])}/aliases/{alias}", {"version": version["version"]})
    outcome = _outcome(name, found, missing, failed, alias)
    text = summary.markdown(version, trained, source, report(name, found, "markdown"), outcome, client.address.url)
    _write(name, found, text, junit, sarif, markdown)
    verdict = "fail" if failed else "waits" if missing else "pass"
    row = {"version": name, "digest": version["digest"], "run_id": trained.run_id, "verdict": verdict, "alias": alias}
    show([row] if output in {"table", "name"} else {**row, "gates": found}, output, _COLUMNS)
    if failed or (missing and require_approval):
        raise GateClosed("; ".join(map(in_words, failed or missing)), hint=f"mlwright gate explain {name}")


def _registered(client: Client, spec: CiSpec, trained: Trained, job: str, source: Source) -> dict[str, Any]:
    """The new version, with the job on it."""
    try:
        client.get(model_path(spec.model))
    except NotFound:
        client.post(f"{_API}/registered-models/create", {"name": spec.model})
    tags = {JOB_TAG: job, "mlwright.ci.commit": source.commit, "mlwright.ci.url": source.url}
    body = {
        "name": spec.model,
        "source": trained.source,
        "run_id": trained.run_id,
        **({"model_id": trained.model_id} if trained.model_id else {}),
        "tags": [{"key": key, "value": value} for key, value in tags.items() if value],
    }
    made = client.post(f"{_API}/model-versions/create", body)["model_version"]
    return find_version(client, f"{spec.model}/{made['version']}", "")


def _outcome(name: str, found: Found, missing: Found, failed: Found, alias: str) -> str:
    if failed:
        return f"{name}: {len(failed)} of {len(found)} gates not passed"
    if missing:
        return f"{name} waits for {', '.join(each['policy'] + '/' + each['gate'] for each in missing)}"
    passed = f"all {len(found)} gates passed" if found else "registered; no gate is about it"
    return f"{name}: {passed}, now @{alias}" if alias else f"{name}: {passed}"


def _write(name: str, found: Found, text: str, junit: Path | None, sarif: Path | None, markdown: Path | None) -> None:
    for target, form in ((junit, "junit"), (sarif, "sarif")):
        if target is not None:
            target.write_text(report(name, found, form), encoding="utf-8")
    if markdown is not None:
        markdown.write_text(text, encoding="utf-8")
    if place := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(text)
