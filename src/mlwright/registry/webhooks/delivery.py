"""Tells webhooks what has happened, in a thread with an event loop: those who answer slowly hold up nobody."""

import asyncio
import contextlib
import logging
import random
import threading
from functools import partial
from typing import NamedTuple

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid, MlwrightError, Unavailable
from mlwright.registry.spec import TOLD
from mlwright.registry.webhooks import outbox
from mlwright.registry.webhooks.outbox import Doubted, Outcome, Work
from mlwright.registry.webhooks.ports import Sealer
from mlwright.registry.webhooks.sending import Reply, Sender, headers
from mlwright.registry.webhooks.spec import DeliveryState

_log = logging.getLogger(__name__)

#: Without a notice it looks again after so long: another server may have left something behind.
_LOOK_AGAIN_S = 5.0
#: Most deliveries of a webhook before others have their turn.
_IN_A_ROW = 50
#: What happens within so long is looked at together.
_COLLECT_S = 0.02
#: A server that does not answer for so long after an attempt must have ended is dead.
_GRACE_S = 15.0
#: Who does not answer for so long is in doubt.
_SLOW_S = 2.0
_LONGEST_PAUSE_S = 60.0
_SHOWN_ANSWER = 200


class Retries(NamedTuple):
    """How often and when a delivery is tried again.

    Attributes:
        most: attempts after the first one.
        random: spreads the attempts of many webhooks over time.
    """

    most: int
    random: random.Random

    def pause_ms(self, attempts: int) -> int:
        """How long to wait after so many attempts: 1, 2, 4 … 60 s, give or take half of it."""
        pause_s = min(2.0 ** min(attempts - 1, 16), _LONGEST_PAUSE_S)
        return int(pause_s * self.random.uniform(0.5, 1.5) * 1_000)


def outcome(reply: Reply, attempts: int, retries: Retries) -> Outcome:
    """What an answer means: 2xx is success; 429 and 5xx may get better; the rest will not, redirects included."""
    if 200 <= reply.status < 300:
        return Outcome(DeliveryState.DELIVERED, reply.status)
    problem = f"answered {reply.status}: {reply.body[:_SHOWN_ANSWER]}".rstrip(": ")
    if reply.status != 429 and reply.status < 500:
        return Outcome(DeliveryState.FAILED, reply.status, problem)
    return _once_more(problem, attempts, retries, reply)


def _once_more(problem: str, attempts: int, retries: Retries, reply: Reply | None = None) -> Outcome:
    status = reply.status if reply else None
    if attempts > retries.most:
        return Outcome(DeliveryState.FAILED, status, problem)
    asked_ms = int((reply.retry_after_s or 0.0) * 1_000) if reply else 0
    return Outcome(DeliveryState.WAITING, status, problem, max(retries.pause_ms(attempts), asked_ms))


class WebhookRunner:
    """Args:
    database: where what is to be told stands.
    sender, sealer: send it, and open secrets.
    chance: spreads retries.
    """

    def __init__(self, database: Database, sender: Sender, sealer: Sealer, chance: random.Random) -> None:
        self._database = database
        self._sender = sender
        self._sealer = sealer
        self._retries = Retries(sender.settings.retries, chance)
        self._lease_ms = int((sender.settings.timeout_s + _GRACE_S) * 1_000)
        self._token = ""
        self._sending: dict[asyncio.Task[None], int] = {}
        self._doubted: set[int] = set()
        self._main: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlwright-webhooks", daemon=True)

    def start(self) -> None:
        """From now on, tell what happens."""
        self._thread.start()
        self._begun.wait()

    def close(self) -> None:
        """Break off what is under way, which will be told again, and wait for the thread."""
        if self._loop is None or self._main is None or not self._thread.is_alive():
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._main.cancel)
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        self._begun.set()
        try:
            await self._settle()
            while True:
                heard = asyncio.create_task(self._database.changes.wait(TOLD, _LOOK_AGAIN_S))
                await asyncio.sleep(_COLLECT_S)  # it listens meanwhile
                try:
                    await asyncio.wait([heard], timeout=await self._step())
                finally:
                    heard.cancel()
        finally:
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)
            with contextlib.suppress(MlwrightError):  # then the leases run out
                await asyncio.to_thread(self._database.write_now, lambda tx: outbox.release(tx, self._token))

    async def _settle(self) -> None:
        """Where there can be no other server, nothing needs to wait for the lease of one that died."""
        self._token = self._database.ids.hex32()
        if self._database.engine.embedded:
            with contextlib.suppress(MlwrightError):  # then the leases run out
                await self._database.write(outbox.release_all)

    async def _step(self) -> float:
        """Begin to tell what is due. Returns how long there is nothing more to do, in seconds."""
        try:
            room, doubted = self._room()
            found = await self._database.read(partial(outbox.agenda, doubted=doubted))
            now = self._database.clock.now_ms()
            pause_s = _LOOK_AGAIN_S if found.due_ms is None or room <= 0 else (found.due_ms - now) / 1_000
            if pause_s > 0 and not found.news:
                return min(pause_s, _LOOK_AGAIN_S)
            take = partial(outbox.take, token=self._token, most=room, lease_ms=self._lease_ms, doubted=doubted)
            for work in (await self._database.write(take)).works:
                self._begin(work)
        except MlwrightError as error:  # the database is away for a while
            _log.warning("webhooks: %s", error.message)
            return _LOOK_AGAIN_S
        except Exception:  # the boundary of the thread: after a defect it goes on, and says so
            _log.exception("webhooks could not be looked after")
            return _LOOK_AGAIN_S
        return 0.0

    def _room(self) -> tuple[int, Doubted]:
        """How many may be told now, and how many of those in doubt: however many hang, who answers is told."""
        at_once, all_busy = self._sender.settings.at_once, len(self._sending)
        busy = sum(row in self._doubted for row in self._sending.values())
        room = min(at_once - (all_busy - busy), 3 * at_once - all_busy)
        return room, Doubted(frozenset(self._doubted), max(at_once // 2, 1) - busy)

    def _doubt(self, row: int) -> None:
        """One that takes long makes room for others."""
        self._doubted.add(row)
        self._database.changes.publish({TOLD})

    def _begin(self, work: Work) -> None:
        task = asyncio.create_task(self._tell(work))
        self._sending[task] = work.webhook.row
        task.add_done_callback(self._sending.pop)

    async def _tell(self, work: Work) -> None:
        """Tell a webhook one thing after the other, but not for so long that others never have their turn."""
        try:
            for _ in range(_IN_A_ROW):
                go_on = partial(outbox.go_on, work=work, outcome=await self._attempt(work), lease_ms=self._lease_ms)
                following = await self._database.write(go_on)
                if following is None:
                    return
                work = following
            finish = partial(outbox.finish, work=work, outcome=await self._attempt(work))
            await self._database.write(finish)
        except MlwrightError as error:  # it will be told again once the lease has run out
            _log.warning("webhooks: %s", error.message)

    async def _attempt(self, work: Work) -> Outcome:
        slow = asyncio.get_running_loop().call_later(_SLOW_S, self._doubt, work.webhook.row)
        try:
            found = await self._tried(work)
        finally:
            slow.cancel()
        change = self._doubted.discard if found.state is DeliveryState.DELIVERED else self._doubted.add
        change(work.webhook.row)
        return found

    async def _tried(self, work: Work) -> Outcome:
        attempts = work.attempts + 1
        try:
            secret = self._sealer.open(work.webhook.sealed) if work.webhook.sealed else None
            own = headers(work.delivery_id, self._database.clock.now_ms(), work.body, secret)
            reply = await self._sender.send(work.webhook.url, work.body, own)
        except Unavailable as error:
            return _once_more(error.message, attempts, self._retries)
        except Invalid as error:
            return Outcome(DeliveryState.FAILED, None, error.message)
        except Exception:  # the boundary of a delivery: its own defect must not stop the others
            _log.exception("the webhook %s could not be told", work.webhook.webhook_id)
            return _once_more("an internal error occurred; it has been logged", attempts, self._retries)
        return outcome(reply, attempts, self._retries)
