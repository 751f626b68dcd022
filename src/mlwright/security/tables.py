"""The tables of identity. Times are Unix milliseconds. Secrets are stored as hashes only."""

from sqlalchemy import Index, Table

from mlwright.kernel.columns import METADATA, Int64, String, key, optional, required

#: People ("user"), programs ("service") and LLM agents ("agent").
principals = Table(
    "principals",
    METADATA,
    key("name", String),
    required("kind", String),
    optional("password", String),  # scrypt hash; NULL when the principal has only tokens
    required("admin", Int64, "0"),  # 1: administrator of the whole server
    required("active", Int64, "1"),
    required("created_ms", Int64),
    sqlite_with_rowid=False,
)

tokens = Table(
    "tokens",
    METADATA,
    key("id", String),  # public part, shown in lists
    required("principal", String),
    required("digest", String),  # SHA-256 of the secret
    required("description", String),
    required("created_ms", Int64),
    optional("expires_ms", Int64),
    sqlite_with_rowid=False,
)
Index("ix_tokens_principal", tokens.c.principal)

role_bindings = Table(
    "role_bindings",
    METADATA,
    key("project", String),
    key("principal", String),
    required("role", String),  # viewer, editor or admin
    required("created_ms", Int64),
    sqlite_with_rowid=False,
)
