"""`mlwright webhooks`."""

import sys
from typing import Any
from urllib.parse import quote

import click

from mlwright.kernel.cli import output_option, show, with_client
from mlwright.kernel.client import Client
from mlwright.kernel.errors import Conflict, Invalid, NotFound, Unavailable

_COLUMNS = ["id", "name", "status", "url", "events", "signed"]
_DELIVERY_COLUMNS = ["id", "event", "state", "attempts", "response_status", "problem", "created_ms", "next_ms"]
_project = click.option("--project", default="", help="Whose webhooks; your own project's when not given.")
_event = click.option("--event", "events", multiple=True, help="Such as model_version.created. May be repeated.")
_secret = click.option(
    "--secret", envvar="MLWRIGHT_WEBHOOK_SECRET", help="Key of the signatures [env: MLWRIGHT_WEBHOOK_SECRET]."
)
_secret_stdin = click.option("--secret-stdin", is_flag=True, help="Read the secret from standard input.")
_description = click.option("--description", help="What it is for.")


@click.group()
def webhooks() -> None:
    """Webhooks tell other programs what happens in the registry. WEBHOOK is a name or an id."""


@webhooks.command("list")
@_project
@click.option("--limit", default=1_000, show_default=True, type=click.IntRange(1), help="At most so many.")
@with_client
@output_option
def list_webhooks(client: Client, project: str, limit: int, output: str) -> None:
    """List webhooks, newest first."""
    found = client.pages("/v1/webhooks", limit, project=project or None)
    show(_flat(found, output), output, _COLUMNS)


@webhooks.command("show")
@click.argument("webhook")
@_project
@with_client
@output_option
def show_webhook(client: Client, webhook: str, project: str, output: str) -> None:
    """Show WEBHOOK."""
    show(_found(client, webhook, project), output)


@webhooks.command("create")
@click.argument("name")
@click.argument("url")
@_event
@_secret
@_secret_stdin
@_description
@click.option("--disabled", is_flag=True, help="Tell it nothing yet.")
@_project
@with_client
@output_option
def create(
    client: Client,
    name: str,
    url: str,
    events: tuple[str, ...],
    secret: str | None,
    secret_stdin: bool,
    description: str | None,
    disabled: bool,
    project: str,
    output: str,
) -> None:
    """Tell URL of events from now on."""
    body = {
        "name": name,
        "url": url,
        "events": events,
        "secret": _given(secret, secret_stdin),
        "description": description,
        "status": "DISABLED" if disabled else "ACTIVE",
    }
    show(client.post(f"/v1/webhooks{_where(project)}", body), output)


@webhooks.command("update")
@click.argument("webhook")
@click.option("--name", help="Another name.")
@click.option("--url", help="Another URL.")
@_event
@_secret
@_secret_stdin
@_description
@click.option("--enable/--disable", default=None, help="Whether it is told anything.")
@_project
@with_client
@output_option
def update(
    client: Client,
    webhook: str,
    name: str | None,
    url: str | None,
    events: tuple[str, ...],
    secret: str | None,
    secret_stdin: bool,
    description: str | None,
    enable: bool | None,
    project: str,
    output: str,
) -> None:
    """Change WEBHOOK. An empty secret ends signing."""
    body: dict[str, Any] = {"name": name, "url": url, "events": events or None, "description": description}
    body |= {"secret": _given(secret, secret_stdin)}
    body |= {} if enable is None else {"status": "ACTIVE" if enable else "DISABLED"}
    show(client.patch(_path(client, webhook, project), body), output)


@webhooks.command("delete")
@click.argument("webhook")
@_project
@with_client
def delete(client: Client, webhook: str, project: str) -> None:
    """Delete WEBHOOK and all it was to be told."""
    client.delete(_path(client, webhook, project))
    click.echo(f"{webhook} deleted", err=True)


@webhooks.command("test")
@click.argument("webhook")
@click.option("--event", default="", help="Of which event; of its first one when not given.")
@_project
@with_client
@output_option
def test(client: Client, webhook: str, event: str, project: str, output: str) -> None:
    """Send WEBHOOK an example, once. Fails unless the answer is a success."""
    found = client.post(f"{_path(client, webhook, project)}/test", {"event": event})
    show(found, output)
    if not found["success"]:
        raise Unavailable(f"{webhook} could not be told", hint="the answer above says why")


@webhooks.command("deliveries")
@click.argument("webhook")
@click.argument("delivery", required=False)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1_000), help="At most so many.")
@_project
@with_client
@output_option
def deliveries(client: Client, webhook: str, delivery: str | None, limit: int, project: str, output: str) -> None:
    """List what WEBHOOK was told and is to be told, newest first; with an id, show DELIVERY and its message."""
    path = f"{_path(client, webhook, project)}/deliveries"
    if delivery is None:
        show(client.get(path, limit=limit), output, _DELIVERY_COLUMNS)
        return
    found = client.get(f"{path}/{quote(delivery, safe='')}")
    show({**found["delivery"], "message": found["message"]} if output == "table" else found, output)


@webhooks.command("retry")
@click.argument("webhook")
@click.argument("delivery")
@_project
@with_client
@output_option
def retry(client: Client, webhook: str, delivery: str, project: str, output: str) -> None:
    """Tell WEBHOOK once more what DELIVERY told or could not tell."""
    path = f"{_path(client, webhook, project)}/deliveries/{quote(delivery, safe='')}/retry"
    show([client.post(path)] if output == "table" else client.post(path), output, _DELIVERY_COLUMNS)


def _given(secret: str | None, from_stdin: bool) -> str | None:
    if not from_stdin:
        return secret
    if secret is not None:
        raise Invalid("the secret is given twice", path="--secret-stdin", hint="leave out one of the two")
    return sys.stdin.readline().rstrip("\r\n")


def _found(client: Client, webhook: str, project: str) -> dict[str, Any]:
    """A webhook by its id or its name. Raises NotFound, and Conflict when several have the name."""
    known = client.pages("/v1/webhooks", 100_000, project=project or None)
    named = [each for each in known if each["id"] == webhook] or [each for each in known if each["name"] == webhook]
    if not named:
        raise NotFound(f"there is no webhook {webhook!r}", path="WEBHOOK", hint="see: mlwright webhooks list")
    if len(named) > 1:
        raise Conflict(f"{len(named)} webhooks are called {webhook!r}", path="WEBHOOK", hint="use the id of one")
    return named[0]


def _path(client: Client, webhook: str, project: str) -> str:
    return f"/v1/webhooks/{_found(client, webhook, project)['id']}"


def _flat(found: list[dict[str, Any]], output: str) -> list[dict[str, Any]]:
    return [{**each, "events": " ".join(each["events"])} for each in found] if output == "table" else found


def _where(project: str) -> str:
    return f"?project={quote(project)}" if project else ""
