"""Who on a database is gone: seldom said, and never of one who lives."""

from collections.abc import Collection
from typing import Any

from mlwright.kernel.presence import GRACE_S, Presence


class Servers:
    """An engine, as far as it is asked, and a clock."""

    server = "me"

    def __init__(self) -> None:
        self.there = {"me", "other"}
        self.now = 0.0

    def servers(self) -> Collection[str]:
        return self.there


def test_who_was_not_there_for_a_while_is_gone() -> None:
    engine: Any = Servers()
    presence = Presence(engine, lambda: float(engine.now))
    assert presence.gone({"me", "other", "dead"}) == set()
    engine.now = GRACE_S
    assert presence.gone({"me", "other", "dead"}) == {"dead"}
    engine.there = {"me"}
    assert presence.gone({"other"}) == set()
    engine.there, engine.now = {"me", "other"}, 2 * GRACE_S  # it was away for a moment
    assert presence.gone({"other"}) == set()
    engine.there, engine.now = {"me"}, 3 * GRACE_S
    assert presence.gone({"other"}) == set()


def test_who_is_not_seen_itself_says_nothing_of_others() -> None:
    engine: Any = Servers()
    presence = Presence(engine, lambda: float(engine.now))
    engine.there = set()
    for engine.now in (0.0, GRACE_S, 10 * GRACE_S):
        assert presence.gone({"other"}) == set()
    engine.there = {"me"}
    assert presence.gone({"other"}) == set()
    engine.now += GRACE_S
    assert presence.gone({"other", "me"}) == {"other"}
