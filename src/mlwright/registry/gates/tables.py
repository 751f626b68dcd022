"""The tables of gates. Times are Unix milliseconds."""

from sqlalchemy import Index, Table

from mlwright.kernel.columns import METADATA, Int64, String, key, optional, required

#: One row per gate that was to run for a version. It stands for its digest and question only.
gate_results = Table(
    "gate_results",
    METADATA,
    key("id", Int64),
    required("version", Int64),  # model_versions.id
    required("digest", String),  # of the version
    required("policy", String),
    required("policy_version", Int64),  # its generation
    required("gate", String),
    required("question", String),  # digest of what was asked
    required("beside", String),  # digests of the versions that it was compared with, as JSON
    required("state", String),  # waiting, running, done
    required("place", Int64),  # within the policy
    optional("verdict", String),
    required("decision", String),  # JSON, see spec.Decision
    required("requested_by", String),
    required("created_ms", Int64),
    optional("started_ms", Int64),
    optional("ended_ms", Int64),
    optional("lease_ms", Int64),  # until then it belongs to who runs it
    required("token", String),  # of who runs it
    optional("until_ms", Int64),  # from then on the answer counts no more
    sqlite_autoincrement=True,
)
Index("ix_gate_results_digest", gate_results.c.digest, gate_results.c.id)
Index("ix_gate_results_state", gate_results.c.state, gate_results.c.id)
Index("ix_gate_results_version", gate_results.c.version, gate_results.c.id)
Index("ix_gate_results_created", gate_results.c.created_ms, gate_results.c.id)

#: What people said of a version.
gate_approvals = Table(
    "gate_approvals",
    METADATA,
    key("id", Int64),
    required("version", Int64),  # model_versions.id
    required("digest", String),
    required("policy", String),
    required("gate", String),
    required("question", String),
    required("principal", String),
    required("approves", Int64),
    required("comment", String),
    required("at_ms", Int64),
    sqlite_autoincrement=True,
)
Index("ix_gate_approvals_version", gate_approvals.c.version, gate_approvals.c.id)
Index("ix_gate_approvals_at", gate_approvals.c.at_ms, gate_approvals.c.id)
