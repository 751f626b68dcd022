"""The tables of webhooks. Times are Unix milliseconds."""

from sqlalchemy import Index, Table, UniqueConstraint

from mlwright.kernel.columns import METADATA, Int64, String, key, optional, required

#: A server claims a webhook with a token, for one delivery at a time: so they keep their order.
webhooks = Table(
    "webhooks",
    METADATA,
    key("id", Int64),
    required("webhook_id", String),
    required("project", String),
    required("name", String),
    optional("description", String),
    required("url", String),
    required("events", String),  # JSON
    required("status", String),  # ACTIVE or DISABLED
    optional("sealed", String),  # the secret, encrypted
    required("created_ms", Int64),
    required("updated_ms", Int64),
    required("seen", Int64),  # events up to this number of the log have become deliveries, or are not to
    required("due_ms", Int64),  # not to be told anything before
    required("lease_ms", Int64),  # until then it belongs to the server with the token
    required("token", String),
    UniqueConstraint("webhook_id", name="uq_webhooks_webhook_id"),
    sqlite_autoincrement=True,
)
Index("ix_webhooks_project", webhooks.c.project, webhooks.c.id)

#: What webhooks are told. The newest ones are kept when they have ended.
webhook_deliveries = Table(
    "webhook_deliveries",
    METADATA,
    key("id", Int64),
    required("webhook", Int64),  # webhooks.id
    required("delivery_id", String),
    required("event", String),
    required("seq", Int64),  # events.seq
    required("body", String),  # JSON, as it is sent
    required("state", String),  # waiting, delivered or failed
    required("attempts", Int64),
    optional("response_status", Int64),
    optional("problem", String),
    required("created_ms", Int64),
    optional("ended_ms", Int64),
    sqlite_autoincrement=True,
)
Index("ix_webhook_deliveries_state", webhook_deliveries.c.webhook, webhook_deliveries.c.state, webhook_deliveries.c.id)
