"""`mlwright lineage`."""

from collections.abc import Mapping
from typing import Any

import click
import msgspec

from mlwright.kernel.cli import show, with_client
from mlwright.kernel.client import Client

_FORMATS = ("table", "json", "yaml", "dot", "openlineage")
#: Colours of the verdicts in DOT.
_COLOURS = {"pass": "palegreen", "approved": "palegreen", "fail": "lightcoral", "rejected": "lightcoral"}
_SHAPES = {"dataset": "cylinder", "run": "box", "model": "component", "model-version": "box3d", "gate": "diamond"}


@click.command()
@click.argument("subject")
@click.option("--up", "direction", flag_value="up", help="Only what it came from.")
@click.option("--down", "direction", flag_value="down", help="Only what came from it.")
@click.option("--live", is_flag=True, help="Only what is in use now and came from it: what is hit if it was wrong.")
@click.option("--project", help="Where a registered model is (default: your own).")
@click.option("--limit", type=click.IntRange(1), help="At most so many things.")
@with_client
@click.option("--output", "-o", default="table", type=click.Choice(_FORMATS), help="Format.")
def lineage(
    client: Client,
    subject: str,
    direction: str | None,
    live: bool,
    project: str | None,
    limit: int | None,
    output: str,
) -> None:
    """Show what SUBJECT was made from, and what was made from it.

    SUBJECT is a URI of MLflow's (runs:/ID, models:/NAME/3, models:/NAME@alias), or one of run/ID, model/m-ID,
    model-version/NAME/NUMBER, dataset/NAME and dataset/NAME@DIGEST.
    """
    if live:
        if output in {"dot", "openlineage"}:
            raise click.UsageError(f"--live shows a list, which has no form {output!r}")
        found = client.get("/v1/lineage/live", subject=subject, project=project)
        show([_row(node) for node in found] if output == "table" else found, output)
        return
    asked = {"subject": subject, "project": project, "direction": direction, "limit": limit}
    if output == "openlineage":
        for event in client.get("/v1/lineage/openlineage", **asked):
            click.echo(msgspec.json.encode(event))
        return
    graph = client.get("/v1/lineage", **asked)
    if output == "dot":
        click.echo(_dot(graph))
    elif output == "table":
        _table(graph)
    else:
        show(graph, output)
    if graph["truncated"]:
        click.echo("warning: there is more than is shown; ask for one direction, or begin elsewhere", err=True)


def _table(graph: Mapping[str, Any]) -> None:
    """One line per connection; the subject alone when nothing is connected."""
    nodes = {node["id"]: node for node in graph["nodes"]}
    if not graph["edges"]:
        show([_row(node) for node in nodes.values()], "table")
        return
    lines = [
        {"from": edge["source"], "": edge["relation"], "to": edge["target"], "facts": _facts(nodes[edge["target"]])}
        for edge in graph["edges"]
    ]
    show(lines, "table")


def _row(node: Mapping[str, Any]) -> dict[str, str]:
    return {"subject": node["id"], "name": node["name"], "project": node["project"], "facts": _facts(node)}


def _facts(node: Mapping[str, Any]) -> str:
    facts = node["facts"]
    words = [f"@{alias}" for alias in facts.get("aliases", [])]
    words += [str(facts[name]) for name in ("stage", "status", "verdict", "by") if name in facts]
    return " ".join(words + (["deleted"] if facts.get("deleted") else []))


def _dot(graph: Mapping[str, Any]) -> str:
    """The graph in the language of Graphviz."""
    lines = ["digraph lineage {", "  rankdir=LR;", '  node [fontname="sans-serif"];']
    for node in graph["nodes"]:
        label = "\n".join(filter(None, (node["name"], node["kind"], _facts(node))))
        shape, colour = _SHAPES.get(node["kind"], "box"), _COLOURS.get(node["facts"].get("verdict", ""), "white")
        look = f"label={_quoted(label)}, shape={shape}, style=filled, fillcolor={colour}"
        lines.append(f"  {_quoted(node['id'])} [{look}];")
    lines += [
        f"  {_quoted(edge['source'])} -> {_quoted(edge['target'])} [label={_quoted(edge['relation'])}];"
        for edge in graph["edges"]
    ]
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
