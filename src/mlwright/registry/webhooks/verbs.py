"""What takes more than a transaction: a URL is looked at before it is stored, and an example is sent."""

import asyncio

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid, Unavailable
from mlwright.kernel.identity import Caller, Role
from mlwright.registry.webhooks import payloads, service
from mlwright.registry.webhooks.ports import Sealer
from mlwright.registry.webhooks.sending import Sender, headers
from mlwright.registry.webhooks.spec import NewWebhook, TestResult, Webhook, WebhookChange, WebhookEvent


class Webhooks:
    """Args:
    database: where webhooks stand.
    sender, sealer: send examples, and keep secrets.
    """

    def __init__(self, database: Database, sender: Sender, sealer: Sealer) -> None:
        self._database = database
        self._sender = sender
        self._sealer = sealer

    async def create(self, caller: Caller, new: NewWebhook, project: str = "") -> Webhook:
        """Create a webhook. Raises as `service.create` does, and Invalid for a URL that may not be told anything."""
        caller.require(project or caller.project, Role.ADMIN)
        await self._sender.check(new.url)
        sealed = await self._seal(new.secret)
        return await self._database.write(lambda tx: service.create(tx, caller, new, sealed, project))

    async def change(self, caller: Caller, webhook_id: str, wanted: WebhookChange) -> Webhook:
        """Change a webhook. Raises as `service.change` does, and Invalid for a URL that may not be told anything."""
        if wanted.url is not None:
            await self._database.read(lambda tx: service.get(tx, caller, webhook_id))
            await self._sender.check(wanted.url)
        sealed = await self._seal(wanted.secret)
        return await self._database.write(lambda tx: service.change(tx, caller, webhook_id, wanted, sealed))

    async def test(self, caller: Caller, webhook_id: str, event: WebhookEvent | None = None) -> TestResult:
        """Send the example of an event once, else of the first one that the webhook is told of."""
        found = await self._database.read(lambda tx: service.get(tx, caller, webhook_id))
        chosen = event or found.events[0]
        result = await self._send(found, chosen)
        await self._database.write(
            lambda tx: service.tested(tx, caller, webhook_id, str(chosen), success=result.success)
        )
        return result

    async def _seal(self, secret: str | None) -> str | None:
        """In a thread: a key may have to be made, or read from its file."""
        return await asyncio.to_thread(self._sealer.seal, secret) if secret else None

    async def _send(self, found: Webhook, event: WebhookEvent) -> TestResult:
        now = self._database.clock.now_ms()
        body = payloads.body(event, now, payloads.example(event))
        try:
            secret = await asyncio.to_thread(self._sealer.open, found.sealed) if found.sealed else None
            own = headers(service.new_id(self._database.ids), now, body, secret)
            reply = await self._sender.send(found.url, body, own)
        except (Invalid, Unavailable) as error:
            return TestResult(success=False, problem=error.message)
        return TestResult(reply.status < 300, reply.status, reply.body)
