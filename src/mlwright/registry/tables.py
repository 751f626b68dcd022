"""The tables of the model registry. Times are Unix milliseconds."""

from sqlalchemy import Index, Table, UniqueConstraint, text

from mlwright.kernel.columns import METADATA, Int64, String, key, optional, required
from mlwright.kernel.events import events
from mlwright.registry.spec import PROMPT_TAG

registered_models = Table(
    "registered_models",
    METADATA,
    key("id", Int64),  # internal; the rows below point at it
    required("project", String),
    required("name", String),
    optional("description", String),
    required("created_ms", Int64),
    required("updated_ms", Int64),
    required("last_version", Int64),  # numbers are never given twice
    UniqueConstraint("project", "name", name="uq_registered_models_name"),
    sqlite_autoincrement=True,
)

registered_model_tags = Table(
    "registered_model_tags",
    METADATA,
    key("model", Int64),  # registered_models.id
    key("key", String),
    required("value", String),
    sqlite_with_rowid=False,
)
#: Searches leave prompts out.
_OF_PROMPTS = text(f"key = '{PROMPT_TAG}'")
Index("ix_registered_model_tags_prompt", registered_model_tags.c.model, sqlite_where=_OF_PROMPTS)

#: `project` and `name` repeat the model's, so that searches walk one index.
model_versions = Table(
    "model_versions",
    METADATA,
    key("id", Int64),
    required("model", Int64),  # registered_models.id
    required("project", String),
    required("name", String),
    required("version", Int64),
    required("source", String),  # as MLflow's clients gave it
    required("storage", String),  # URI of what clients download
    required("run_id", String),  # empty when there is none, as in MLflow
    optional("model_id", String),  # of the logged model
    optional("run_link", String),
    optional("description", String),
    required("author", String),
    required("stage", String),  # None, Staging, Production or Archived
    optional("digest", String),  # of all files; NULL when they are not pinned
    required("size", Int64),  # bytes of all files
    required("files", Int64),
    required("facts", String),  # JSON, see spec.Facts
    optional("copied_from", Int64),  # id of the version whose files were released or copied, which may be gone
    required("created_ms", Int64),
    required("updated_ms", Int64),
    UniqueConstraint("model", "version", name="uq_model_versions_version"),
    sqlite_autoincrement=True,
)
_versions = model_versions.c
Index("ix_model_versions_name", _versions.project, _versions.name, _versions.version.desc())
Index(
    "ix_model_versions_newest", _versions.project, _versions.updated_ms.desc(), _versions.name, _versions.version.desc()
)
Index("ix_model_versions_run", _versions.run_id)
Index("ix_model_versions_model", _versions.model_id, sqlite_where=text("model_id IS NOT NULL"))
Index("ix_model_versions_copied", _versions.copied_from, sqlite_where=text("copied_from IS NOT NULL"))
Index("ix_model_versions_stage", _versions.stage, sqlite_where=text("stage <> 'None'"))

model_version_tags = Table(
    "model_version_tags",
    METADATA,
    key("version", Int64),  # model_versions.id
    key("key", String),
    required("value", String),
    sqlite_with_rowid=False,
)

Index("ix_model_version_tags_prompt", model_version_tags.c.version, sqlite_where=_OF_PROMPTS)

#: Who needs a version, such as an endpoint that serves it: as long as there is one, it cannot be deleted.
version_holds = Table(
    "version_holds",
    METADATA,
    key("holder", String),  # a subject, as in the event log
    key("version", Int64),  # model_versions.id
    sqlite_with_rowid=False,
)
Index("ix_version_holds_version", version_holds.c.version)

model_aliases = Table(
    "model_aliases",
    METADATA,
    key("model", Int64),  # registered_models.id
    key("alias", String),
    required("version", Int64),  # the version's number
    sqlite_with_rowid=False,
)

#: The history of a model or version is read from the event log. "/" comes after "." in ASCII.
_OF_REGISTRY = text("type >= 'registry.' AND type < 'registry/'")
Index("ix_events_registry", events.c.project, events.c.subject, events.c.seq, sqlite_where=_OF_REGISTRY)
#: Whoever asks when gates were overridden does not want to read the whole log.
_OVERRIDDEN = text("type = 'registry.gate.overridden'")
Index("ix_events_overridden", events.c.at_ms, events.c.seq, sqlite_where=_OVERRIDDEN)
