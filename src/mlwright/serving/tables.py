"""The tables of serving. Times are Unix milliseconds."""

from sqlalchemy import Index, Table, UniqueConstraint, text

from mlwright.kernel.columns import METADATA, Float64, Int64, String, key, required

#: What an endpoint serves now; what it is to be stands in its resource. A row goes with its resource.
endpoints = Table(
    "endpoints",
    METADATA,
    key("id", Int64),
    required("project", String),
    required("name", String),
    required("stable", Int64),  # number of the revision that serves; 0 before the first
    required("candidate", Int64),  # of the one that is to take over; 0 when there is none
    required("share", Float64),  # of the traffic that the candidate gets
    required("last_revision", Int64),  # numbers are never given twice
    required("considered", String),  # what was last asked for: it is not tried again until something else is
    UniqueConstraint("name", name="uq_endpoints_name"),  # clients name an endpoint without its project
    sqlite_autoincrement=True,
)

endpoint_revisions = Table(
    "endpoint_revisions",
    METADATA,
    key("id", Int64),
    required("endpoint", Int64),  # endpoints.id
    required("number", Int64),
    required("model", String),
    required("version", Int64),
    required("version_row", Int64),  # model_versions.id, which may be gone
    required("digest", String),
    required("onnx", Int64),  # 1: it is compiled
    required("state", String),  # preparing, ready or failed
    required("reason", String),  # why it failed
    required("overridden", String),
    required("author", String),
    required("created_ms", Int64),
    required("ready_ms", Int64),  # 0 before
    UniqueConstraint("endpoint", "number", name="uq_endpoint_revisions_number"),
    sqlite_autoincrement=True,
)
#: What a start or a notice has to look for.
Index(
    "ix_endpoint_revisions_preparing",
    endpoint_revisions.c.endpoint,
    endpoint_revisions.c.number,
    sqlite_where=text("state = 'preparing'"),
)

rollouts = Table(
    "rollouts",
    METADATA,
    key("id", Int64),
    required("endpoint", Int64),  # endpoints.id
    required("number", Int64),  # of the candidate's revision: a revision is rolled out once at a time
    required("attempt", Int64),
    required("stable", Int64),
    required("plan", String),  # JSON: spec.Rollout as it was when it began
    required("state", String),  # running, paused, promoted, rolled-back, aborted or superseded
    required("reason", String),
    required("evidence", String),  # JSON: verdicts.State
    required("looks", Int64),
    required("step", Int64),
    required("inconclusive", Int64),  # 1 once there was no evidence in time
    required("author", String),
    required("began_ms", Int64),
    required("ended_ms", Int64),  # 0 while it goes on
    UniqueConstraint("endpoint", "number", "attempt", name="uq_rollouts_attempt"),
    sqlite_autoincrement=True,
)

#: Every look of a rollout and what it amounted to. Several servers may look at their own hosts in turn.
rollout_looks = Table(
    "rollout_looks",
    METADATA,
    key("rollout", Int64),  # rollouts.id
    key("number", Int64),
    required("look", String),  # JSON: verdicts.Look
    required("judgement", String),  # JSON: verdicts.Judgement
    sqlite_with_rowid=False,
)

#: What a revision did in a minute, for charts.
endpoint_minutes = Table(
    "endpoint_minutes",
    METADATA,
    key("endpoint", Int64),  # endpoints.id
    key("at_ms", Int64),  # the minute's beginning
    key("number", Int64),  # of the revision
    required("requests", Int64),
    required("errors", Int64),
    required("p50_ms", Float64),
    required("p99_ms", Float64),
    sqlite_with_rowid=False,
)

endpoint_keys = Table(
    "endpoint_keys",
    METADATA,
    key("endpoint", Int64),  # endpoints.id
    key("name", String),
    required("digest", String),  # SHA-256 of the key, which nobody else has
    required("author", String),
    required("created_ms", Int64),
    sqlite_with_rowid=False,
)

#: What users of an A/B test or a bandit were worth, by revision.
endpoint_rewards = Table(
    "endpoint_rewards",
    METADATA,
    key("endpoint", Int64),  # endpoints.id
    key("number", Int64),  # of the revision
    required("rewards", Int64),  # how many
    required("total", Float64),  # each is from 0 to 1
    sqlite_with_rowid=False,
)
