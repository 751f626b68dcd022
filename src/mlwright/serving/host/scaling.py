"""How many processes a version needs: a pure function of the load that was seen. Up at once, down after a while."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from mlwright.serving.spec import Scaling

#: Processes end only when no load of so many seconds needed them: a dip, or a load that swings, ends none.
STEADY_S = 60.0
#: So much above the target is still the target: a load that lies on it moves nothing.
_TOLERANCE = 0.1


class Load(NamedTuple):
    """Requests under way in all processes of a version, on average since the look before."""

    at_s: float
    under_way: float


def needed(under_way: float, concurrency: int) -> int:
    """Processes for so many requests at once."""
    return math.ceil(under_way / concurrency - _TOLERANCE)


def plan(scaling: Scaling, loads: Sequence[Load], *, now_s: float, idle_s: float) -> int:
    """Processes that a version should have now: from 0 or `min` up to `max`.

    Args:
        idle_s: since its last request; 0 while one is under way.
    """
    if scaling.min == 0 and idle_s >= scaling.idle_seconds:
        return 0
    recent = (needed(load.under_way, scaling.concurrency) for load in loads if now_s - STEADY_S < load.at_s <= now_s)
    return min(max(1, scaling.min, *recent), scaling.max)
