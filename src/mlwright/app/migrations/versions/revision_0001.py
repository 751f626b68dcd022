"""The tables of the first release.

Revision: 0001, after nothing.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Int64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Float64: sa.Double[float] = sa.Double()
String = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
Bytes = sa.LargeBinary()


def upgrade() -> None:
    artifact_contents()
    artifact_files()
    artifact_parts()
    comments()
    dataset_inputs()
    datasets()
    endpoint_keys()
    endpoint_minutes()
    endpoint_revisions()
    endpoint_rewards()
    endpoints()
    event_head()
    events()
    experiment_tags()
    experiments()
    gate_approvals()
    gate_results()
    logged_model_metrics()
    logged_model_params()
    logged_model_tags()
    logged_models()
    metric_arrivals()
    metric_batches()
    metric_chunks()
    metric_series()
    metric_waiting()
    model_aliases()
    model_version_tags()
    model_versions()
    params()
    principals()
    registered_model_tags()
    registered_models()
    resources()
    role_bindings()
    rollout_looks()
    rollouts()
    run_models()
    runs()
    saved_views()
    tags()
    tokens()
    version_holds()
    version_signatures()
    webhook_deliveries()
    webhooks()


def artifact_contents() -> None:
    op.create_table(
        "artifact_contents",
        sa.Column("digest", String, nullable=False),
        sa.Column("data", Bytes, nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )


def artifact_files() -> None:
    op.create_table(
        "artifact_files",
        sa.Column("path", String, nullable=False),
        sa.Column("project", String, nullable=False),
        sa.Column("digest", String, nullable=False),
        sa.Column("size", Int64, nullable=False),
        sa.Column("created_ms", Int64, nullable=False),
        sa.PrimaryKeyConstraint("path"),
        sqlite_with_rowid=False,
    )


def artifact_parts() -> None:
    op.create_table(
        "artifact_parts",
        sa.Column("upload_id", String, nullable=False),
        sa.Column("part", Int64, nullable=False),
        sa.Column("path", String, nullable=False),
        sa.Column("digest", String, nullable=False),
        sa.Column("size", Int64, nullable=False),
        sa.Column("created_ms", Int64, nullable=False),
        sa.PrimaryKeyConstraint("upload_id", "part"),
        sqlite_with_rowid=False,
    )


def comments() -> None:
    op.create_table(
        "comments",
        sa.Column("id", Int64, nullable=False),
        sa.Column("run", Int64, nullable=False),
        sa.Column("author", String, nullable=False),
        sa.Column("created_ms", Int64, nullable=False),
        sa.Column("body", String, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_comments_run", "comments", ["run"], unique=False)


def dataset_inputs() -> None:
    op.create_table(
        "dataset_inputs",
        sa.Column("run", Int64, nullable=False),
        sa.Column("dataset", Int64, nullable=False),
        sa.Column("context", String, nullable=True),
        sa.Column("tags", String, nullable=False),
        sa.PrimaryKeyConstraint("run", "dataset"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_dataset_inputs_dataset", "dataset_inputs", ["dataset"], unique=False)


def datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", Int64, nullable=False),
        sa.Column("experiment_id", Int64, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("digest", String, nullable=False),
        sa.Column("source_type", String, nullable=False),
        sa.Column("source", String, nullable=False),
        sa.Column("schema", String, nullable=True),
        sa.Column("profile", String, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("experiment_id", "name", "digest", name="uq_datasets_digest"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_datasets_name", "datasets", ["name"], unique=False)


def endpoint_keys() -> None:
    op.create_table(
        "endpoint_keys",
        sa.Column("endpoint", Int64, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("digest", String, nullable=False),
        sa.Column("author", String, nullable=False),
        sa.Column("created_ms", Int64, nullable=False),
        sa.PrimaryKeyConstraint("endpoint", "name"),
        sqlite_with_rowid=False,
    )


def endpoint_minutes() -> None:
    op.create_table(
        "endpoint_minutes",
        sa.Column("endpoint", Int64, nullable=False),
        sa.Column("at_ms", Int64, nullable=False),
        sa.Column("number", Int64, nullable=False),
        sa.Column("requests", Int64, nullable=False),
        sa.Column("errors", Int64, nullable=False),
        sa.Column("p50_ms", Float64, nullable=False),
        sa.Column("p99_ms", Float64, nullable=False),
        sa.PrimaryKeyConstraint("endpoint", "at_ms", "number"),
        sqlite_with_rowid=False,
    )


def endpoint_revisions() -> None:
    op.create_table(
        "endpoint_revisions",
        sa.Column("id", Int64, nullable=False),
        sa.Column("endpoint", Int64, nullable=False),
        sa.Column("number", Int64, nullable=False),
        sa.Column("model", String, nullable=False),
        sa.Column("version", Int64, nullable=False),
        sa.Column("version_row", Int64, nullable=False),
        sa.Column("digest", String, nullable=False),
        sa.Column("onnx", Int64, nullable=False),
        sa.Column("state", String, nullable=False),
        sa.Column("reason", String, nullable=False),
        sa.Column("overridden", String, nullable=False),
        sa.Column("author", String, nullable=False),
        sa.Column("created_ms", Int64, nullable=False),
        sa.Column("ready_ms", Int64, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("endpoint", "number", name="uq_endpoint_revisions_number"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_endpoint_revisions_preparing",
        "endpoint_revisions",
        ["endpoint", "number"],
        unique=False,
        sqlite_where=sa.text("state = 'preparing'"),
        postgresql_where=sa.text("state = 'preparing'"),
    )


def endpoint_rewards() -> None:
    op.create_table(
        "endpoint_rewards",
        sa.Column("endpoint", Int64, nullable=False),
        sa.Column("number", Int64, nullable=False),
        sa.Column("rewards", Int64, nullable=False),
        sa.Column("total", Float64, nullable=False),
        sa.PrimaryKeyConstraint("endpoint", "number"),
        sqlite_with_rowid=False,
    )


def endpoints() -> None:
    op.create_table(
        "endpoints",
        sa.Column("id", Int64, nullable=False),
        sa.Column("project", String, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("stable", Int64, nullable=False),
        sa.Column("candidate", Int64, nullable=False),
        sa.Column("share", Float64, nullable=False),
        sa.Column("last_revision", Int64, nullable=False),
        sa.Column("considered", String, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", name="uq_endpoints_name"),
        sqlite_autoincrement=True,
    )


def event_head() -> None:
    op.create_table(
        "event_head",
        sa.Column("id", Int64, nullable=False),
        sa.Column("seq", Int64, nullable=False),
        sa.Column("hash", String, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def events() -> None:
    op.create_table(
        "events",
        sa.Column("seq", Int64, nullable=False),
        sa.Column("at_ms", Int64, nullable=False),
        sa.Column("actor", String, nullable=False),
        sa.Column("project", String, nullable=False),
        sa.Column("type", String, nullable=False),
        sa.Column("subject", String, nullable=False),
        sa.Column("data", String, nullable=False),
        sa.Column("previous", String, nullable=False),
        sa.Column("hash", String, nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index(
        "ix_events_overridden",
        "events",
        ["at_ms", "seq"],
        unique=False,
        sqlite_where=sa.text("type = 'registry.gate.overridden'"),
        postgresql_where=sa.text("type = 'registry.gate.overridden'"),
    )
    op.create_index(
        "ix_events_registry",
        "events",
        ["project", "subject", "seq"],
        unique=False,
        sqlite_where=sa.text("type >= 'registry.' AND type < 'registry/'"),
        postgresql_where=sa.text("type >= 'registry.' AND type < 'registry/'"),
    )


def experiment_tags() -> None:
    op.create_table(
        "experiment_tags",
        sa.Column("experiment_id", Int64, nullable=False),
        sa.Column("key", String, nullable=False),
        sa.Column("value", String, nullable=False),
        sa.PrimaryKeyConstraint("experiment_id", "key"),
        sqlite_with_rowid=False,
    )


def experiments() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", Int64, nullable=False),
        sa.Column("project", String, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("artifact_location", String, nullable=False),
        sa.Column("active", Int64, server_default="1", nullable=False),
        sa.Column("created_ms", Int64, nullable=False),
        sa.Column("updated_ms", Int64, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project", "name", name="uq_experiments_name"),
        sqlite_autoincrement=True,
    )


def gate_approvals() -> None:
    op.create_table(
        "gate_approvals",
        sa.Column("id", Int64, nullable=False),
        sa.Column("version", Int64, nullable=False),
        sa.Column("digest", String, nullable=False),
        sa.Column("policy", String, nullable=False),
        sa.Column("gate", String, nullable=False),
        sa.Column("question", String, nullable=False),
        sa.Column("principal", String, nullable=False),
        sa.Column("approves", Int64, nullable=False),
        sa.Column("comment", String, nullable=False),
        sa.Column("at_ms", Int64, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_gate_approvals_at", "gate_approvals", ["at_ms", "id"], unique=False)
    op.create_index("ix_gate_approvals_version", "gate_approvals", ["version", "id"], unique=False)


def gate_results() -> None:
    op.create_table(
        "gate_results",
        sa.Column("id", Int64, nullable=False),
        sa.Column("version", Int64, nullable=False),
        sa.Column("digest", String, nullable=False),
        sa.Column("policy", String, nullable=False),
        sa.Column("policy_version", Int64, nullable=False),
        sa.Column("gate", String, nullable=False),
        sa.Column("question", String, nullable=False),
        sa.Column("beside", String, nullable=False),
        sa.Column("state", String, nullable=False),
        sa.Column("place", Int64, nullable=False),
        sa.Column("verdict", String, nullable=True),
        sa.Column("decision", String, nullable=False),
        sa.Column("requested_by", String, nullable=False),
        sa.Column("created_ms", Int64, nullable=False),
        sa.Column("started_ms", Int64, nullable=True),
        sa.Column("ended_ms", Int64, nullable=True),
        sa.Column("lease_ms", Int64, nullable=True),
        sa.Column("token", String, nullable=False),
        sa.Column("until_ms", Int64, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_gate_results_created", "gate_results", ["created_ms", "id"], unique=False)
    op.create_index("ix_gate_results_digest", "gate_results", ["digest", "id"], unique=False)
    op.create_index("ix_gate_results_state", "gate_results", ["state", "id"], unique=False)
    op.create_index("ix_gate_results_version", "gate_results", ["version", "id"], unique=False)


def logged_model_metrics() -> None:
    op.create_table(
        "logged_model_metrics",
        sa.Column("model", Int64, nullable=False),
        sa.Column("key", String, nullable=False),
        sa.Column("timestamp_ms", Int64, nullable=False),
        sa.Column("step", Int64, nullable=False),
        sa.Column("run_id", String, nullable=False),
        sa.Column("value", Float64, nullable=True),
        sa.Column("is_nan", Int64, nullable=False),
        sa.Column("dataset_name", String, nullable=True),
        sa.Column("dataset_digest", String, nullable=True),
        sa.PrimaryKeyConstraint("model", "key", "timestamp_ms", "step", "run_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_logged_model_metrics_value", "logged_model_metrics", ["key", "value"], unique=False)


def logged_model_params() -> None:
    op.create_table(
        "logged_model_params",
        sa.Column("model", Int64, nullable=False),
        sa.Column("key", String, nullable=False),
        sa.Column("value", String, nullable=False),
        sa.PrimaryKeyConstraint("model", "key"),
        sqlite_with_rowid=False,
    )


def logged_model_tags() -> None:
    op.create_table(
        "logged_model_tags",
        sa.Column("model", Int64, nullable=False),
        sa.Column("key", String, nullable=False),
        sa.Column("value", String, nullable=False),
        sa.PrimaryKeyConstraint("model", "key"),
        sqlite_with_rowid=False,
    )


def logged_models() -> None:
    op.create_table(
        "logged_models",
        sa.Column("id", Int64, nullable=False),
        sa.Column("model_id", String, nullable=False),
        sa.Column("experiment_id", Int64, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("artifact_uri", String, nullable=False),
        sa.Column("created_ms", Int64, nullable=False),
        sa.Column("updated_ms", Int64, nullable=False),
        sa.Column("status", Int64, nullable=False),
        sa.Column("status_message", String, nullable=True),
        sa.Column("model_type", String, nullable=True),
        sa.Column("source_run_id", String, nullable=True),
        sa.Column("active", Int64, server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("model_id", name="uq_logged_models_model_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_logged_models_newest", "logged_models", ["experiment_id", "active", "created_ms"], unique=False)
    op.create_index(
        "ix_logged_models_run",
        "logged_models",
        ["source_run_id"],
        unique=False,
        sqlite_where=sa.text("source_run_id IS NOT NULL"),
        postgresql_where=sa.text("source_run_id IS NOT NULL"),
    )


def metric_arrivals() -> None:
    op.create_table(
        "metric_arrivals",
        sa.Column("upto", Int64, nullable=False),
        sa.Column("experiment_id", Int64, nullable=False),
        sa.Column("run", Int64, nullable=False),
        sa.Column("points", Bytes, nullable=False),
        sa.PrimaryKeyConstraint("upto"),
    )


def metric_batches() -> None:
    op.create_table(
        "metric_batches",
        sa.Column("run", Int64, nullable=False),
        sa.Column("number", Int64, nullable=False),
        sa.Column("points", Bytes, nullable=False),
        sa.PrimaryKeyConstraint("run", "number"),
    )


def metric_chunks() -> None:
    op.create_table(
        "metric_chunks",
        sa.Column("run", Int64, nullable=False),
        sa.Column("key", String, nullable=False),
        sa.Column("chunk", Int64, nullable=False),
        sa.Column("first_timestamp_ms", Int64, nullable=False),
        sa.Column("last_timestamp_ms", Int64, nullable=False),
        sa.Column("data", Bytes, nullable=False),
        sa.PrimaryKeyConstraint("run", "key", "chunk"),
    )


def metric_series() -> None:
    op.create_table(
        "metric_series",
        sa.Column("run", Int64, nullable=False),
        sa.Column("key", String, nullable=False),
        sa.Column("experiment_id", Int64, nullable=False),
        sa.Column("value", Float64, nullable=True),
        sa.Column("is_nan", Int64, nullable=False),
        sa.Column("step", Int64, nullable=False),
        sa.Column("timestamp_ms", Int64, nullable=False),
        sa.Column("points", Int64, nullable=False),
        sa.Column("ordered", Int64, nullable=False),
        sa.Column("chunks", Int64, nullable=False),
        sa.Column("last_timestamp_ms", Int64, nullable=False),
        sa.Column("last_step", Int64, nullable=False),
        sa.Column("tail", Bytes, nullable=True),
        sa.PrimaryKeyConstraint("run", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_metric_series_value", "metric_series", ["experiment_id", "key", "is_nan", "value", "run"], unique=False
    )


def metric_waiting() -> None:
    op.create_table(
        "metric_waiting",
        sa.Column("experiment_id", Int64, nullable=False),
        sa.Column("run", Int64, nullable=False),
        sa.Column("batches", Int64, nullable=False),
        sa.Column("shown", Int64, nullable=False),
        sa.PrimaryKeyConstraint("experiment_id", "run"),
        sqlite_with_rowid=False,
    )


def model_aliases() -> None:
    op.create_table(
        "model_aliases",
        sa.Column("model", Int64, nullable=False),
        sa.Column("alias", String, nullable=False),
        sa.Column("version", Int64, nullable=False),
        sa.PrimaryKeyConstraint("model", "alias"),
        sqlite_with_rowid=False,
    )


def model_version_tags() -> None:
    op.create_table(
        "model_version_tags",
        sa.Column("version", Int64, nullable=False),
        sa.Column("key", String, nullable=False),
        sa.Column("value", String, nullable=False),
        sa.PrimaryKeyConstraint("version", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_model_version_tags_prompt",
        "model_version_tags",
        ["version"],
        unique=False,
        sqlite_where=sa.text("key = 'mlflow.prompt.is_prompt'"),
        postgresql_where=sa.text("key = 'mlflow.prompt.is_prompt'"),
    )


def model_versions() -> None:
    op.create_table(
        "model_versions",
        sa.Column("id", Int64, nullable=False),
        sa.Column("model", Int64, nullable=False),
        sa.Column("project", String, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("version", Int64, nullable=False),
        sa.Column("source", String, nullable=False),
        sa.Column("storage", String, nullable=False),
        sa.Column("run_id", String, nullable=False),
        sa.Column("model_id", String, nullable=True),
        sa.Column("run_link", String, nullable=True),
        sa.Column("description", String, nullable=True),
        sa.Column("author", String, nullable=False),
        sa.Column("stage", String, nullable=False),
        sa.Column("digest", String, nullable=True),
        sa.Column("size", Int64, nullable=False),
        sa.Column("files", Int64, nullable=False),
        sa.Column("facts", String, nullable=False),
        sa.Column("copied_from", Int64, nullable=True),
        sa.Column("created_ms", Int64, nullable=False),
        sa.Column("updated_ms", Int64, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("model", "version", name="uq_model_versions_version"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_model_versions_copied",
        "model_versions",
        ["copied_from"],
        unique=False,
        sqlite_where=sa.text("copied_from IS NOT NULL"),
        postgresql_where=sa.text("copied_from IS NOT NULL"),
    )
    op.create_index(
        "ix_model_versions_model",
        "model_versions",
        ["model_id"],
        unique=False,
        sqlite_where=sa.text("model_id IS NOT NULL"),
        postgresql_where=sa.text("model_id IS NOT NULL"),
    )
    op.create_index(
        "ix_model_versions_name", "model_versions", ["project", "name", sa.literal_column("version DESC")], unique=False
    )
    op.create_index(
        "ix_model_versions_newest",
        "model_versions",
        ["project", sa.literal_column("updated_ms DESC"), "name", sa.literal_column("version DESC")],
        unique=False,
    )
    op.create_index("ix_model_versions_run", "model_versions", ["run_id"], unique=False)
    op.create_index(
        "ix_model_versions_stage",
        "model_versions",
        ["stage"],
        unique=False,
        sqlite_where=sa.text("stage <> 'None'"),
        postgresql_where=sa.text("stage <> 'None'"),
    )


def params() -> None:
    op.create_table(
        "params",
        sa.Column("run", Int64, nullable=False),
        sa.Column("key", String, nullable=False),
        sa.Column("value", String, nullable=False),
        sa.PrimaryKeyConstraint("run", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_params_value", "params", ["key", sa.literal_column("substr(value, 1, 100)"), "run"], unique=False
    )


def principals() -> None:
    op.create_table(
        "principals",
        sa.Column("name", String, nullable=False),
        sa.Column("kind", String, nullable=False),
        sa.Column("password", String, nullable=True),
        sa.Column("admin", Int64, server_default="0", nullable=False),
        sa.Column("active", Int64, server_default="1", nullable=False),
        sa.Column("created_ms", Int64, nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )


def registered_model_tags() -> None:
    op.create_table(
        "registered_model_tags",
        sa.Column("model", Int64, nullable=False),
        sa.Column("key", String, nullable=False),
        sa.Column("value", String, nullable=False),
        sa.PrimaryKeyConstraint("model", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_registered_model_tags_prompt",
        "registered_model_tags",
        ["model"],
        unique=False,
        sqlite_where=sa.text("key = 'mlflow.prompt.is_prompt'"),
        postgresql_where=sa.text("key = 'mlflow.prompt.is_prompt'"),
    )


def registered_models() -> None:
    op.create_table(
        "registered_models",
        sa.Column("id", Int64, nullable=False),
        sa.Column("project", String, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("description", String, nullable=True),
        sa.Column("created_ms", Int64, nullable=False),
        sa.Column("updated_ms", Int64, nullable=False),
        sa.Column("last_version", Int64, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project", "name", name="uq_registered_models_name"),
        sqlite_autoincrement=True,
    )


def resources() -> None:
    op.create_table(
        "resources",
        sa.Column("kind", String, nullable=False),
        sa.Column("project", String, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("uid", String, nullable=False),
        sa.Column("generation", Int64, nullable=False),
        sa.Column("version", Int64, nullable=False),
        sa.Column("labels", String, nullable=False),
        sa.Column("annotations", String, nullable=False),
        sa.Column("owner_references", String, nullable=False),
        sa.Column("finalizers", String, nullable=False),
        sa.Column("created_ms", Int64, nullable=False),
        sa.Column("deleted_ms", Int64, nullable=True),
        sa.Column("spec", String, nullable=False),
        sa.Column("status", String, nullable=False),
        sa.PrimaryKeyConstraint("kind", "project", "name"),
        sa.UniqueConstraint("uid", name="uq_resources_uid"),
        sqlite_with_rowid=False,
    )


def role_bindings() -> None:
    op.create_table(
        "role_bindings",
        sa.Column("project", String, nullable=False),
        sa.Column("principal", String, nullable=False),
        sa.Column("role", String, nullable=False),
        sa.Column("created_ms", Int64, nullable=False),
        sa.PrimaryKeyConstraint("project", "principal"),
        sqlite_with_rowid=False,
    )


def rollout_looks() -> None:
    op.create_table(
        "rollout_looks",
        sa.Column("rollout", Int64, nullable=False),
        sa.Column("number", Int64, nullable=False),
        sa.Column("look", String, nullable=False),
        sa.Column("judgement", String, nullable=False),
        sa.PrimaryKeyConstraint("rollout", "number"),
        sqlite_with_rowid=False,
    )


def rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("id", Int64, nullable=False),
        sa.Column("endpoint", Int64, nullable=False),
        sa.Column("number", Int64, nullable=False),
        sa.Column("attempt", Int64, nullable=False),
        sa.Column("stable", Int64, nullable=False),
        sa.Column("plan", String, nullable=False),
        sa.Column("state", String, nullable=False),
        sa.Column("reason", String, nullable=False),
        sa.Column("evidence", String, nullable=False),
        sa.Column("looks", Int64, nullable=False),
        sa.Column("step", Int64, nullable=False),
        sa.Column("inconclusive", Int64, nullable=False),
        sa.Column("author", String, nullable=False),
        sa.Column("began_ms", Int64, nullable=False),
        sa.Column("ended_ms", Int64, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("endpoint", "number", "attempt", name="uq_rollouts_attempt"),
        sqlite_autoincrement=True,
    )


def run_models() -> None:
    op.create_table(
        "run_models",
        sa.Column("run", Int64, nullable=False),
        sa.Column("direction", String, nullable=False),
        sa.Column("model_id", String, nullable=False),
        sa.Column("step", Int64, nullable=False),
        sa.PrimaryKeyConstraint("run", "direction", "model_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_run_models_model", "run_models", ["model_id"], unique=False)


def runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", Int64, nullable=False),
        sa.Column("run_id", String, nullable=False),
        sa.Column("experiment_id", Int64, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("user_id", String, nullable=False),
        sa.Column("status", Int64, nullable=False),
        sa.Column("start_ms", Int64, nullable=False),
        sa.Column("end_ms", Int64, nullable=True),
        sa.Column("active", Int64, server_default="1", nullable=False),
        sa.Column("deleted_ms", Int64, nullable=True),
        sa.Column("artifact_uri", String, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("run_id", name="uq_runs_run_id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_runs_newest",
        "runs",
        ["experiment_id", "active", sa.literal_column("start_ms DESC"), "run_id"],
        unique=False,
    )


def saved_views() -> None:
    op.create_table(
        "saved_views",
        sa.Column("id", Int64, nullable=False),
        sa.Column("experiment_id", Int64, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("author", String, nullable=False),
        sa.Column("query", String, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("experiment_id", "name", name="uq_saved_views_name"),
        sqlite_autoincrement=True,
    )


def tags() -> None:
    op.create_table(
        "tags",
        sa.Column("run", Int64, nullable=False),
        sa.Column("key", String, nullable=False),
        sa.Column("value", String, nullable=False),
        sa.PrimaryKeyConstraint("run", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_tags_parent",
        "tags",
        ["value", "run"],
        unique=False,
        sqlite_where=sa.text("key = 'mlflow.parentRunId'"),
        postgresql_where=sa.text("key = 'mlflow.parentRunId'"),
    )
    op.create_index(
        "ix_tags_reproduces",
        "tags",
        ["value", "run"],
        unique=False,
        sqlite_where=sa.text("key = 'mlwright.reproduces'"),
        postgresql_where=sa.text("key = 'mlwright.reproduces'"),
    )


def tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", String, nullable=False),
        sa.Column("principal", String, nullable=False),
        sa.Column("digest", String, nullable=False),
        sa.Column("description", String, nullable=False),
        sa.Column("created_ms", Int64, nullable=False),
        sa.Column("expires_ms", Int64, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tokens_principal", "tokens", ["principal"], unique=False)


def version_holds() -> None:
    op.create_table(
        "version_holds",
        sa.Column("holder", String, nullable=False),
        sa.Column("version", Int64, nullable=False),
        sa.PrimaryKeyConstraint("holder", "version"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_version_holds_version", "version_holds", ["version"], unique=False)


def version_signatures() -> None:
    op.create_table(
        "version_signatures",
        sa.Column("version", Int64, nullable=False),
        sa.Column("fingerprint", String, nullable=False),
        sa.Column("bundle", Bytes, nullable=False),
        sa.Column("signed_by", String, nullable=False),
        sa.Column("at_ms", Int64, nullable=False),
        sa.PrimaryKeyConstraint("version", "fingerprint"),
        sqlite_with_rowid=False,
    )


def webhook_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", Int64, nullable=False),
        sa.Column("webhook", Int64, nullable=False),
        sa.Column("delivery_id", String, nullable=False),
        sa.Column("event", String, nullable=False),
        sa.Column("seq", Int64, nullable=False),
        sa.Column("body", String, nullable=False),
        sa.Column("state", String, nullable=False),
        sa.Column("attempts", Int64, nullable=False),
        sa.Column("response_status", Int64, nullable=True),
        sa.Column("problem", String, nullable=True),
        sa.Column("created_ms", Int64, nullable=False),
        sa.Column("ended_ms", Int64, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_webhook_deliveries_state", "webhook_deliveries", ["webhook", "state", "id"], unique=False)


def webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", Int64, nullable=False),
        sa.Column("webhook_id", String, nullable=False),
        sa.Column("project", String, nullable=False),
        sa.Column("name", String, nullable=False),
        sa.Column("description", String, nullable=True),
        sa.Column("url", String, nullable=False),
        sa.Column("events", String, nullable=False),
        sa.Column("status", String, nullable=False),
        sa.Column("sealed", String, nullable=True),
        sa.Column("created_ms", Int64, nullable=False),
        sa.Column("updated_ms", Int64, nullable=False),
        sa.Column("seen", Int64, nullable=False),
        sa.Column("due_ms", Int64, nullable=False),
        sa.Column("lease_ms", Int64, nullable=False),
        sa.Column("token", String, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("webhook_id", name="uq_webhooks_webhook_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_webhooks_project", "webhooks", ["project", "id"], unique=False)
