"""Progress lines."""

from __future__ import annotations

import io

import pytest

from examples.flights.console import Console


def test_phases_are_numbered_and_timed() -> None:
    shown = io.StringIO()
    console = Console(8, shown)
    with console.phase("reading"):
        console.note("3 flights")
    with pytest.raises(ValueError, match="broken"), console.phase("training"):
        raise ValueError("broken")
    assert shown.getvalue().splitlines() == ["[ 1/8] reading ...", "        3 flights", "[ 2/8] training ..."]
    assert list(console.seconds) == ["reading", "training"]
