"""The tables of experiment tracking.

Conventions: times are Unix milliseconds; `active` is 1 for live rows and 0 for deleted ones; a metric value that is
NaN is stored as value NULL with is_nan 1, because SQLite cannot store NaN; infinities are stored as ±max double.
"""

from sqlalchemy import Index, Table, UniqueConstraint, func, literal_column, text

from mlwright.kernel.columns import METADATA, Bytes, Float64, Int64, String, key, optional, required
from mlwright.tracking.spec import REPRODUCES_TAG

experiments = Table(
    "experiments",
    METADATA,
    key("id", Int64),
    required("project", String),
    required("name", String),
    required("artifact_location", String),
    required("active", Int64, "1"),
    required("created_ms", Int64),
    required("updated_ms", Int64),
    UniqueConstraint("project", "name", name="uq_experiments_name"),
    sqlite_autoincrement=True,
)

experiment_tags = Table(
    "experiment_tags",
    METADATA,
    key("experiment_id", Int64),
    key("key", String),
    required("value", String),
    sqlite_with_rowid=False,
)

runs = Table(
    "runs",
    METADATA,
    key("id", Int64),  # internal; the rows below point at it
    required("run_id", String),  # 32 hexadecimal digits, what users see
    required("experiment_id", Int64),
    required("name", String),
    required("user_id", String),
    required("status", Int64),  # MLflow's RunStatus: 1 RUNNING 2 SCHEDULED 3 FINISHED 4 FAILED 5 KILLED
    required("start_ms", Int64),
    optional("end_ms", Int64),
    required("active", Int64, "1"),
    optional("deleted_ms", Int64),
    required("artifact_uri", String),
    UniqueConstraint("run_id", name="uq_runs_run_id"),
    sqlite_autoincrement=True,
)
Index("ix_runs_newest", runs.c.experiment_id, runs.c.active, runs.c.start_ms.desc(), runs.c.run_id)

params = Table(
    "params",
    METADATA,
    key("run", Int64),  # runs.id
    key("key", String),
    required("value", String),
    sqlite_with_rowid=False,
)
#: Parameter values are long, and PostgreSQL takes no index entry above 2,704 bytes: only the start is indexed.
PARAM_START = func.substr(params.c.value, literal_column("1"), literal_column("100"))
Index("ix_params_value", params.c.key, PARAM_START, params.c.run)

tags = Table(
    "tags",
    METADATA,
    key("run", Int64),  # runs.id
    key("key", String),
    required("value", String),
    sqlite_with_rowid=False,
)
#: Children of a run are found by this tag.
PARENT_TAG = "mlflow.parentRunId"
Index("ix_tags_parent", tags.c.value, tags.c.run, sqlite_where=text(f"key = '{PARENT_TAG}'"))
#: Runs that repeat a run are found by this tag.
Index("ix_tags_reproduces", tags.c.value, tags.c.run, sqlite_where=text(f"key = '{REPRODUCES_TAG}'"))

#: One row per (run, metric key): the latest value, by which runs are searched and ordered, and what is needed to
#: append without reading the history. Latest = highest step, then timestamp, then value.
metric_series = Table(
    "metric_series",
    METADATA,
    key("run", Int64),  # runs.id
    key("key", String),
    required("experiment_id", Int64),
    optional("value", Float64),  # NULL when NaN
    required("is_nan", Int64),
    required("step", Int64),
    required("timestamp_ms", Int64),
    required("points", Int64),
    required("ordered", Int64),  # 1 while every point was appended in strictly increasing (timestamp, step) order
    required("chunks", Int64),  # how many chunks hold the history before `tail`
    required("last_timestamp_ms", Int64),  # the greatest (timestamp, step) seen: what is above it is surely new
    required("last_step", Int64),
    optional("tail", Bytes),  # the newest points, packed; moved to a chunk when they are many
    sqlite_with_rowid=False,
)
Index(
    "ix_metric_series_value",
    metric_series.c.experiment_id,
    metric_series.c.key,
    metric_series.c.is_nan,
    metric_series.c.value,
    metric_series.c.run,
)

#: Full parts of the history: packed 24-byte little-endian records (step i64, timestamp i64, value f64), see points.py.
metric_chunks = Table(
    "metric_chunks",
    METADATA,
    key("run", Int64),  # runs.id
    key("key", String),
    key("chunk", Int64),
    required("first_timestamp_ms", Int64),
    required("last_timestamp_ms", Int64),
    required("data", Bytes),
)

#: Batches of many metrics that wait to be taken into the histories together, see service/waiting.py.
metric_batches = Table(
    "metric_batches",
    METADATA,
    key("run", Int64),  # runs.id
    key("number", Int64),  # 0, 1, 2, … in the order of their coming
    required("points", Bytes),  # MessagePack: a list of keys, and as many packed points
)

#: One row per run of which batches wait.
metric_waiting = Table(
    "metric_waiting",
    METADATA,
    key("experiment_id", Int64),
    key("run", Int64),  # runs.id
    required("batches", Int64),
    required("shown", Int64),  # of so many the newest values are in metric_series already
    sqlite_with_rowid=False,
)

#: Small batches of all runs, which wait to be taken into the histories together, see service/waiting.py.
metric_arrivals = Table(
    "metric_arrivals",
    METADATA,
    key("upto", Int64),  # so many points wait in it and those before it; they rise in the order of coming
    required("experiment_id", Int64),
    required("run", Int64),  # runs.id
    required("points", Bytes),  # as in metric_batches
)

datasets = Table(
    "datasets",
    METADATA,
    key("id", Int64),
    required("experiment_id", Int64),
    required("name", String),
    required("digest", String),
    required("source_type", String),
    required("source", String),
    optional("schema", String),
    optional("profile", String),
    UniqueConstraint("experiment_id", "name", "digest", name="uq_datasets_digest"),
    sqlite_autoincrement=True,
)

Index("ix_datasets_name", datasets.c.name)

#: A dataset read by a run; `context` repeats the input tag mlflow.data.context, by which runs are searched.
dataset_inputs = Table(
    "dataset_inputs",
    METADATA,
    key("run", Int64),  # runs.id
    key("dataset", Int64),  # datasets.id
    optional("context", String),
    required("tags", String),  # JSON array of {"key", "value"}
    sqlite_with_rowid=False,
)
Index("ix_dataset_inputs_dataset", dataset_inputs.c.dataset)

#: Logged models read ("input") or written ("output") by a run.
run_models = Table(
    "run_models",
    METADATA,
    key("run", Int64),  # runs.id
    key("direction", String),
    key("model_id", String),
    required("step", Int64),
    sqlite_with_rowid=False,
)

Index("ix_run_models_model", run_models.c.model_id)

logged_models = Table(
    "logged_models",
    METADATA,
    key("id", Int64),
    required("model_id", String),  # "m-" and 32 hexadecimal digits
    required("experiment_id", Int64),
    required("name", String),
    required("artifact_uri", String),
    required("created_ms", Int64),
    required("updated_ms", Int64),
    required("status", Int64),  # 1 PENDING 2 READY 3 FAILED
    optional("status_message", String),
    optional("model_type", String),
    optional("source_run_id", String),
    required("active", Int64, "1"),
    UniqueConstraint("model_id", name="uq_logged_models_model_id"),
    sqlite_autoincrement=True,
)
Index("ix_logged_models_run", logged_models.c.source_run_id, sqlite_where=text("source_run_id IS NOT NULL"))
Index("ix_logged_models_newest", logged_models.c.experiment_id, logged_models.c.active, logged_models.c.created_ms)

logged_model_params = Table(
    "logged_model_params",
    METADATA,
    key("model", Int64),  # logged_models.id
    key("key", String),
    required("value", String),
    sqlite_with_rowid=False,
)

logged_model_tags = Table(
    "logged_model_tags",
    METADATA,
    key("model", Int64),  # logged_models.id
    key("key", String),
    required("value", String),
    sqlite_with_rowid=False,
)

#: Metrics logged with a model id, one row per point as in MLflow (few per model: evaluation results).
logged_model_metrics = Table(
    "logged_model_metrics",
    METADATA,
    key("model", Int64),  # logged_models.id
    key("key", String),
    key("timestamp_ms", Int64),
    key("step", Int64),
    key("run_id", String),
    optional("value", Float64),
    required("is_nan", Int64),
    optional("dataset_name", String),
    optional("dataset_digest", String),
    sqlite_with_rowid=False,
)
Index("ix_logged_model_metrics_value", logged_model_metrics.c.key, logged_model_metrics.c.value)

#: Notes people leave on a run (ET6).
comments = Table(
    "comments",
    METADATA,
    key("id", Int64),
    required("run", Int64),  # runs.id
    required("author", String),
    required("created_ms", Int64),
    required("body", String),  # Markdown
    sqlite_autoincrement=True,
)
Index("ix_comments_run", comments.c.run)

#: A named query, order and column choice of the runs table.
saved_views = Table(
    "saved_views",
    METADATA,
    key("id", Int64),
    required("experiment_id", Int64),
    required("name", String),
    required("author", String),
    required("query", String),  # JSON object of the page's query parameters
    UniqueConstraint("experiment_id", "name", name="uq_saved_views_name"),
    sqlite_autoincrement=True,
)
