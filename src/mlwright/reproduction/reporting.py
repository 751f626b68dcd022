"""A reproduction in words: as table, as Markdown, and in one sentence."""

from collections import Counter
from collections.abc import Sequence

from mlwright.reproduction.spec import Likened, Likeness, Outcome, Report

#: What is worth showing first.
_ORDER = (Likeness.DIFFERS, Likeness.APART, Likeness.WITHIN, Likeness.SAME)


def conclude(likened: Sequence[Likened]) -> tuple[Outcome, str]:
    """The outcome of comparisons, and why."""
    count = Counter(each.likeness for each in likened)
    wrong = [f"{each.kind} {each.name}" for each in likened if each.likeness is Likeness.DIFFERS]
    if wrong:
        named = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        return Outcome.DIFFERS, f"{named} {'differs' if len(wrong) == 1 else 'differ'}"
    good = count[Likeness.SAME] + count[Likeness.WITHIN]
    apart = f", {count[Likeness.APART]} left apart" if count[Likeness.APART] else ""
    within = f" ({count[Likeness.WITHIN]} within tolerance)" if count[Likeness.WITHIN] else ""
    return Outcome.REPRODUCED, f"{good} of {good} comparisons agree{within}{apart}"


def ordered(likened: Sequence[Likened]) -> list[Likened]:
    """Comparisons, the most interesting first."""
    return sorted(likened, key=lambda each: (_ORDER.index(each.likeness), each.kind, each.name))


def markdown(report: Report) -> str:
    """The whole report as a Markdown page."""
    lines = [f"# Reproduction of {_text(report.name)}", "", f"**{report.outcome}**: {_text(report.reason)}", ""]
    facts = {
        "run": f"`{report.run_id}`",
        "reproduction": f"`{report.reproduction}`" if report.reproduction else "nothing was run",
        "command": f"`{' '.join(report.command)}`" if report.command else "unknown",
        "commit": f"`{report.commit}`" if report.commit else "unknown",
        "environment": f"Python {report.python}, {report.packages} packages" if report.python else "not built",
        "took": f"{report.seconds:.1f} s",
    }
    lines += _table(("", ""), list(facts.items()))
    if report.missing:
        lines += ["", "## Missing", ""]
        lines += _table(("what", "detail", "help"), [(each.what, each.detail, each.hint) for each in report.missing])
    if report.notes:
        lines += ["", "## Uncertain", "", *(f"- {_text(note)}" for note in report.notes)]
    if report.likened:
        rows = [
            (each.likeness.value, each.kind, each.name, shown(each.before), shown(each.after), each.note)
            for each in ordered(report.likened)
        ]
        lines += ["", "## Comparison", "", *_table(("", "kind", "name", "original", "reproduction", "note"), rows)]
    return "\n".join(lines) + "\n"


def shown(value: float | str | None) -> str:
    """A value for people."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.10g}"
    return value if len(value) <= 40 else f"{value[:37]}…"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(_text(cell) for cell in line) + " |" for line in lines]


def _text(text: str) -> str:
    """One line that breaks no table."""
    return " ".join(text.replace("|", "\\|").split())
