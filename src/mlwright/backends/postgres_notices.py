"""What one server commits, the others on the same PostgreSQL database hear of: NOTIFY and LISTEN.

PostgreSQL delivers a notice when the transaction that sent it has been committed, and never otherwise. The connection
that listens also says that its server lives: it holds an advisory lock, which PostgreSQL frees when the connection
ends, as it does at once when the process is killed.
"""

import logging
import threading
from collections.abc import Collection, Iterator

import psycopg

from mlwright.kernel.changes import Changes
from mlwright.kernel.transaction import Cursor

_log = logging.getLogger(__name__)

_CHANNEL = "mlwright"
_SEND = "SELECT pg_notify(%s, %s)"
#: The first half of these locks ("mlws" read as a 32-bit number); the second half is the server.
_PRESENCE = int.from_bytes(b"mlws", "big")
_BE_PRESENT = "SELECT pg_advisory_lock_shared(%s, %s)"
_PRESENT = """
SELECT objid FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE locktype = 'advisory' AND granted AND classid = %s AND objsubid = 2 AND datname = current_database()
"""
#: PostgreSQL takes less than 8,000 bytes in one notice.
_MOST_BYTES = 7_500
#: How long the listener is deaf to `close`, and how long it waits before it connects again.
_PATIENCE_S = 0.5
_CONNECT_AGAIN_S = 1.0


def announcements(sender: str, topics: Collection[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    """The statements, with their values, that tell other servers of topics.

    Args:
        sender: names this server, which need not hear of itself.
    """
    text = sender
    for topic in sorted(topics):
        if len(text) + len(topic) >= _MOST_BYTES:
            yield _SEND, (_CHANNEL, text)
            text = sender
        text += f"\n{topic}"
    yield _SEND, (_CHANNEL, text)


def present(cursor: Cursor) -> set[str]:
    """The servers that listen now, as `Listener` names them."""
    cursor.execute(_PRESENT, (_PRESENCE,))
    return {f"{row[0]:08x}" for row in cursor.fetchall()}


class Listener:
    """A thread with a connection of its own that publishes what other servers announce.

    Args:
        conninfo: names the database.
        sender: this server, as `announcements` names it: eight hexadecimal digits.
        changes: told about the topics, and to wake everyone when notices may have been missed.
    """

    def __init__(self, conninfo: str, sender: str, changes: Changes) -> None:
        self._conninfo = conninfo
        self._sender = sender
        self._changes = changes
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlwright-listen", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, within about a second."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._listen()
            except psycopg.Error as error:
                _log.warning("no notices from other servers: %s", str(error).partition("\n")[0])
                self._ending.wait(_CONNECT_AGAIN_S)

    def _listen(self) -> None:
        with psycopg.connect(self._conninfo, autocommit=True, connect_timeout=5) as connection:
            connection.execute(_BE_PRESENT, (_PRESENCE, _signed(self._sender)))
            connection.execute(f"LISTEN {_CHANNEL}")
            self._changes.publish_all()  # of what was committed meanwhile, there was no notice
            while not self._ending.is_set():
                for notice in connection.notifies(timeout=_PATIENCE_S):
                    sender, *topics = notice.payload.split("\n")
                    if sender != self._sender:
                        self._changes.publish(topics)


def _signed(server: str) -> int:
    """The number of a server, as PostgreSQL takes a half of a lock."""
    return int.from_bytes(bytes.fromhex(server), "big", signed=True)
