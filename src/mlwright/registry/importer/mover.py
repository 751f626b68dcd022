"""The move of a registry: model by model, versions by number, aliases last; then everything is compared."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from mlwright.kernel.client import Client
from mlwright.kernel.errors import NotFound
from mlwright.registry.ports import MovedRegisteredModel, MovedVersion, RegistrySource
from mlwright.registry.spec import PROMPT_TAG

_TOGETHER = 50
#: Path below a run or logged model, size in bytes and digest of what was read there; no digest when it was not read.
Files = Mapping[str, Sequence[tuple[str, int, str]]]


class Options(msgspec.Struct, frozen=True):
    """What to move, and where to.

    Attributes:
        source: its address, for the events.
        project: where to; the caller's own when empty.
        prefix: put before the names of models.
        names: only these models; all when empty.
        override: why aliases and stages shall be moved past closed gates; for administrators.
        dry_run: only say what would change.
    """

    source: str
    project: str = ""
    prefix: str = ""
    names: tuple[str, ...] = ()
    override: str = ""
    dry_run: bool = False


class Row(msgspec.Struct, frozen=True):
    """One line of the final comparison."""

    thing: str
    source: int
    imported: int
    equal: bool


class RegistryOutcome(msgspec.Struct):
    """How the move of a registry ended.

    Attributes:
        changes: models, versions and aliases that were new or different.
        differing: models, versions and aliases that are not as at the source.
        skipped: what stays as it is here, and why.
        unpinned: versions whose files are not here.
    """

    changes: dict[str, int]
    rows: list[Row]
    differing: list[str]
    skipped: list[str]
    unpinned: list[str]


class Progress(Protocol):
    """Is told how a move goes on."""

    def model(self, name: str, number: int, total: int) -> None:
        """The move of a registered model begins; it is the `number`th of `total`."""
        ...


class Mover:
    """Args:
    client: of the server to move to.
    source: what to move.
    files: what the runs and logged models hold at the source, by their path in the API.
    """

    def __init__(
        self, client: Client, source: RegistrySource, files: Files, options: Options, progress: Progress
    ) -> None:
        self._client = client
        self._source = source
        self._files = files
        self._options = options
        self._progress = progress
        self._counts = {thing: [0, 0] for thing in ("registered models", "versions", "aliases")}
        self._outcome = RegistryOutcome(dict.fromkeys(("registered_models", "versions", "aliases"), 0), [], [], [], [])

    def move(self) -> RegistryOutcome:
        """Move everything that was asked for, and compare. Raises what the source and the server raise."""
        chosen = self._chosen()
        for number, model in enumerate(chosen, 1):
            self._progress.model(model.name, number, len(chosen))
            self._model(model)
        rows = self._outcome.rows
        rows += [Row(thing, source, here, source == here) for thing, (source, here) in self._counts.items()]
        return self._outcome

    def _chosen(self) -> list[MovedRegisteredModel]:
        found = self._source.registered_models()
        wanted = set(self._options.names)
        unknown = wanted - {each.name for each in found}
        if unknown:
            raise NotFound(
                f"the source has no registered model {sorted(unknown)[0]!r}",
                path="--model",
                hint="it has: " + ", ".join(repr(each.name) for each in found[:20]),
            )
        return [each for each in found if not wanted or each.name in wanted]

    def _model(self, model: MovedRegisteredModel) -> None:
        versions = self._source.versions(model)
        dry = self._options.dry_run
        found = self._import_model(model, dry=dry)
        name, absent = found["name"], dry and found["created"]
        changes = self._outcome.changes
        changes["registered_models"] += bool(found["created"] or found["changed"])
        self._counts["registered models"][0] += 1
        self._counts["aliases"][0] += len(model.aliases)
        if absent:
            self._counts["versions"][0] += len(versions)
            changes["versions"] += len(versions)
            changes["aliases"] += len(model.aliases)
            self._outcome.differing.append(name)
            return
        for batch in _batches(versions):
            for answer in self._import_versions(name, batch, dry=dry):
                changes["versions"] += bool(answer["created"] or answer["changed"])
                self._outcome.skipped += answer["skipped"]
        moved = self._import_aliases(name, model, dry=dry)
        changes["aliases"] += len(moved["changed"])
        self._outcome.skipped += moved["skipped"]
        self._compare(name, model, versions)

    # --- comparing ---------------------------------------------------------------------------------------------

    def _compare(self, name: str, model: MovedRegisteredModel, versions: Sequence[MovedVersion]) -> None:
        if self._import_model(model, dry=True)["changed"]:
            self._outcome.differing.append(name)
        else:
            self._counts["registered models"][1] += 1
        is_prompt = model.tags.get(PROMPT_TAG, "").lower() == "true"
        for batch in _batches(versions):
            for version, answer in zip(batch, self._import_versions(name, batch, dry=True), strict=True):
                self._compare_version(name, version, answer, is_prompt=is_prompt)
        missing = self._import_aliases(name, model, dry=True)["changed"]
        self._outcome.differing += [f"{name}@{alias}" for alias in missing]
        self._counts["aliases"][1] += len(model.aliases) - len(missing)

    def _compare_version(self, name: str, version: MovedVersion, answer: Mapping[str, Any], *, is_prompt: bool) -> None:
        label = f"{name}/{version.version}"
        if answer["deleted"]:
            self._outcome.skipped.append(f"{label} was deleted here, and stays so")
            return
        self._counts["versions"][0] += 1
        expected = self._expected(answer)
        if answer["created"] or answer["changed"] or (expected and answer["digest"] != expected):
            self._outcome.differing.append(label)
            return
        self._counts["versions"][1] += 1
        if answer["digest"] is None and not is_prompt:
            self._outcome.unpinned.append(f"{label} ({version.source})")

    def _expected(self, answer: Mapping[str, Any]) -> str:
        """The digest of the version's files at the source; empty when they were not read."""
        below = f"{answer['folder']}/" if answer["folder"] else ""
        files = [
            (path.removeprefix(below), size, digest)
            for path, size, digest in self._files.get(answer["origin"], ())
            if path.startswith(below)
        ]
        if not files or not all(digest for _, _, digest in files):
            return ""
        ordered = sorted(files, key=lambda file: file[0].encode())
        lines = "".join(f"{digest} {size} {path}\n" for path, size, digest in ordered)
        return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"

    # --- requests ----------------------------------------------------------------------------------------------

    def _import_model(self, model: MovedRegisteredModel, *, dry: bool) -> dict[str, Any]:
        kept = msgspec.structs.replace(model, aliases={})
        body = {"model": kept, "project": self._options.project, "prefix": self._options.prefix, "dry_run": dry}
        found: dict[str, Any] = self._client.post_packed("/v1/import/registered-models", body)
        return found

    def _import_versions(self, name: str, batch: Sequence[MovedVersion], *, dry: bool) -> list[dict[str, Any]]:
        body = {"name": name, "versions": batch, "source": self._options.source, **self._options_of(dry=dry)}
        found: list[dict[str, Any]] = self._client.post_packed("/v1/import/versions", body)
        return found

    def _import_aliases(self, name: str, model: MovedRegisteredModel, *, dry: bool) -> dict[str, Any]:
        body = {
            "name": name,
            "aliases": model.aliases,
            "updated_ms": model.updated_ms,
            **self._options_of(dry=dry),
        }
        found: dict[str, Any] = self._client.post_packed("/v1/import/aliases", body)
        return found

    def _options_of(self, *, dry: bool) -> dict[str, Any]:
        return {"project": self._options.project, "override": self._options.override, "dry_run": dry}


def _batches(versions: Sequence[MovedVersion]) -> Iterator[Sequence[MovedVersion]]:
    return (versions[start : start + _TOGETHER] for start in range(0, len(versions), _TOGETHER))
