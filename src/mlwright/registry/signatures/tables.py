"""The table of signatures. Times are Unix milliseconds."""

from sqlalchemy import Table

from mlwright.kernel.columns import METADATA, Bytes, Int64, String, key, required

#: Kept beside the version, whose files never change. A key signs a version once: signing again replaces it.
version_signatures = Table(
    "version_signatures",
    METADATA,
    key("version", Int64),  # model_versions.id
    key("fingerprint", String),  # of the key
    required("bundle", Bytes),  # a Sigstore bundle, as security.signing reads and writes them
    required("signed_by", String),
    required("at_ms", Int64),
    sqlite_with_rowid=False,
)
