"""Numbers, times and sizes as the pages show them. Scripts turn times into the reader's own zone and language."""

import math
from datetime import UTC, datetime

from markupsafe import Markup, escape

_SIZES = ("B", "KB", "MB", "GB", "TB", "PB")
#: Protocols without infinities write the largest numbers instead: what reaches this is shown as one.
INFINITE = 1.7e308
_MAX_MS = 253_402_300_799_999  # the end of the year 9999: what datetime can show


def number(value: float | None) -> str:
    """A metric with five significant digits; whole numbers whole."""
    if value is None:
        return ""
    if math.isnan(value):
        return "NaN"
    if abs(value) >= INFINITE:
        return "∞" if value > 0 else "−∞"
    if abs(value) < 1e9 and value == int(value):
        return str(int(value))
    return f"{value:.5g}"


def exact(value: float | None) -> str:
    """A metric with all its digits, for those who point at it."""
    return "" if value is None else number(value) if abs(value) >= INFINITE else repr(value)


def size(count: int | None) -> str:
    """Bytes as "1.2 MB" (powers of 1,000)."""
    if count is None:
        return ""
    amount, unit = float(count), 0
    while amount >= 999.5 and unit < len(_SIZES) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{count} B" if unit == 0 else f"{amount:.3g} {_SIZES[unit]}"


def duration(milliseconds: int | None) -> str:
    """A time span with two units: "1h 5m", "2m 3s", "3.4s", "120ms"."""
    if milliseconds is None or milliseconds < 0:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest}s" if rest else f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h {minutes}m" if minutes else f"{hours}h"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours}h" if hours else f"{days}d"


def moment(milliseconds: int | None, style: str = "relative") -> Markup:
    """A <time> element. `style` is "relative" ("3 hours ago") or "full"; without scripts it shows UTC."""
    if milliseconds is None or not 0 < milliseconds <= _MAX_MS:
        return Markup("")
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    text = at.isoformat(" ", "minutes")[:16]
    machine = f"{text.replace(' ', 'T')}:{at.second:02}.{milliseconds % 1000:03}Z"
    kind = "full" if style == "full" else "relative"
    # Made of digits only: nothing to escape, and a table has hundreds of them.
    return Markup(f'<time datetime="{machine}" data-style="{kind}">{text} UTC</time>')  # noqa: S704


def short(text: str, limit: int) -> str:
    """At most `limit` characters, with an ellipsis where something was cut."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def middle(text: str, limit: int) -> str:
    """At most `limit` characters: the start and the end, with an ellipsis between them where something was cut."""
    tail = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[: limit - 1 - tail]}…{text[-tail:]}"


def spark(counts: list[int], label: str) -> Markup:
    """A small bar chart as SVG: one bar per count, scaled to the largest."""
    top = max(counts, default=0)
    if top == 0:
        return Markup("")
    bars = Markup("").join(
        Markup('<rect x="{}" y="{}" width="3" height="{}"/>').format(at * 4, f"{18 - height:.1f}", f"{height:.1f}")
        for at, count in enumerate(counts)
        if (height := max(1.5, 18 * count / top) if count else 0)
    )
    return Markup('<svg class="spark" viewBox="0 0 {} 18" role="img" aria-label="{}">{}</svg>').format(
        len(counts) * 4, escape(label), bars
    )
