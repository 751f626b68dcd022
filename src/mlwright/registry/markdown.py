"""Model cards in Markdown."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from mlwright.registry.described import Card
from mlwright.registry.gates.spec import Check, Standing
from mlwright.registry.plain import plain

UNKNOWN, NO_GATE, UNSIGNED = "unknown", "no gate is about this version", "nobody has signed this version"
#: What is said in place of a whole section.
_WHOLE = {UNKNOWN, NO_GATE, UNSIGNED}


#: A text in the language of a reader, with {names} replaced by values.
Words = Callable[..., str]


def english(text: str, **values: object) -> str:
    """The text itself."""
    return text.format(**values) if values else text


def card(made: Card, words: Words = english) -> str:
    """A card as a document. Whatever is unknown says so.

    Args:
        words: translates headings and what is said of a whole section; names and values stay as they are.
    """
    sections = [
        ("Purpose", _text(made.purpose)),
        ("Notes", _text(made.notes)),
        ("Limits", "\n".join(f"- {plain(each)}" for each in made.limits) or words("none known")),
        ("Metrics", _metrics(made)),
        ("Slices and fairness", _checks(made.slices)),
        ("Gates", _gates(made.gates)),
        ("Signatures", _signatures(made)),
        ("Data", _data(made)),
        ("Code", _code(made)),
        ("Signature", _signature(made)),
        ("Environment", _environment(made)),
        ("Lineage", _lineage(made)),
        ("Files", _files(made)),
    ]
    parts = [f"# {words('{name}, version {n}', name=plain(made.name), n=made.version)}", _identity(made)]
    parts += [f"## {words(title)}\n\n{words(text) if text in _WHOLE else text}" for title, text in sections]
    return "\n\n".join(parts) + "\n"


def _text(text: str | None) -> str:
    """Text of several paragraphs."""
    if text is None:
        return UNKNOWN
    return "\n\n".join(plain(each) for each in re.split(r"\n\s*\n", text) if each.strip())


def _identity(made: Card) -> str:
    when = datetime.fromtimestamp(made.registered_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return _table(
        ("", ""),
        [
            ("project", made.project),
            ("registered", f"{when} by {made.owner}"),
            ("owner", made.owner),
            ("digest", made.digest),
            ("size", f"{made.size} bytes" if made.digest else None),
            ("stage", made.stage),
            ("aliases", ", ".join(made.aliases) or "none"),
            *((f"tag {key}", value) for key, value in sorted(made.tags.items())),
        ],
    )


def _metrics(made: Card) -> str:
    if made.metrics is None:
        return UNKNOWN
    rows = [(each.name, _number(each.value), each.dataset) for each in made.metrics]
    return _table(("metric", "value", "computed on"), rows)


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _checks(checks: Sequence[Check] | None) -> str:
    if checks is None:
        return UNKNOWN
    return _table(("check", "verdict", "required", "found"), [_check(each) for each in checks])


def _check(each: Check) -> tuple[str, str, str, str]:
    return each.name, each.verdict.value, each.required, each.found


def _gates(standings: Sequence[Standing]) -> str:
    if not standings:
        return NO_GATE
    rows = [(f"{each.policy}/{each.gate}", each.kind, _verdict(each), each.decision.reason) for each in standings]
    checks = [(f"{each.policy}/{each.gate}", *_check(check)) for each in standings for check in each.decision.checks]
    found = _table(("gate", "kind", "verdict", "reason"), rows)
    return f"{found}\n\n{_table(('gate', 'check', 'verdict', 'required', 'found'), checks)}" if checks else found


def _signatures(made: Card) -> str:
    if not made.signatures:
        return UNSIGNED
    rows = [
        (each.fingerprint, each.key or None, each.signed_by, "yes" if each.trusted else f"no: {each.reason}")
        for each in made.signatures
    ]
    return _table(("fingerprint", "key", "brought by", "counts"), rows)


def _verdict(each: Standing) -> str:
    return each.decision.verdict.value if each.state == "done" else each.state


def _data(made: Card) -> str:
    if made.data is None:
        return UNKNOWN
    return _table(("dataset", "used for", "digest"), [(each.name, each.context, each.digest) for each in made.data])


def _code(made: Card) -> str:
    if made.code is None:
        return UNKNOWN
    code = made.code
    rows = [("commit", code.commit), ("repository", code.repository), ("source", code.source)]
    return _table(("", ""), rows)


def _signature(made: Card) -> str:
    if made.signature is None:
        return UNKNOWN
    rows = [
        (part, str(column.get("name", place)) if isinstance(column, dict) else str(place), _kind(column))
        for part, columns in made.signature.items()
        for place, column in enumerate(columns if isinstance(columns, list) else [columns])
        if column is not None
    ]
    return _table(("part", "name", "type"), rows)


def _kind(column: object) -> str:
    if not isinstance(column, dict):
        return str(column)
    rest = {key: value for key, value in column.items() if key != "name"}
    return str(rest["type"]) if set(rest) == {"type"} else msgspec.json.encode(rest).decode()


def _environment(made: Card) -> str:
    if made.python is None and made.flavors is None and made.environment is None:
        return UNKNOWN
    rows: list[tuple[str, str | None]] = [("Python", made.python)]
    rows += [(f"flavor {name}", version) for name, version in (made.flavors or {}).items()]
    rows += [(f"package {name}", version or "any version") for name, version in (made.packages or {}).items()]
    rows += [(each.path, each.digest) for each in made.environment or ()]
    return _table(("what", "which"), rows)


def _lineage(made: Card) -> str:
    run = made.run
    rows: list[tuple[str, str | None]] = [("source", made.source), ("files", made.storage)]
    rows += [("run", run.run_id if run else None)]
    if run is not None:
        rows += [("experiment", run.experiment), ("run's name", run.name), ("run by", run.user)]
        rows += [("run's status", run.status)]
        rows += [(f"parameter {name}", value) for name, value in sorted((run.parameters or {}).items())]
    return _table(("", ""), rows)


def _files(made: Card) -> str:
    if made.files is None:
        return UNKNOWN
    return _table(("path", "bytes", "digest"), [(each.path, str(each.size), each.digest) for each in made.files])


def _table(titles: Sequence[str], rows: Iterable[Sequence[str | None]]) -> str:
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    lines += [f"| {' | '.join(UNKNOWN if cell is None else plain(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)
