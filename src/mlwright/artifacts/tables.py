"""The tables of artifacts: names for blobs, and the bytes of small ones. Times are Unix milliseconds."""

from sqlalchemy import Table

from mlwright.kernel.columns import METADATA, Bytes, Int64, String, key, required

#: The tree of files behind mlflow-artifacts:/ URIs. A path has no leading slash; folders exist by what is in them.
artifact_files = Table(
    "artifact_files",
    METADATA,
    key("path", String),
    required("project", String),
    required("digest", String),  # of a blob, "sha256:" and 64 hexadecimal digits
    required("size", Int64),  # bytes
    required("created_ms", Int64),
    sqlite_with_rowid=False,
)

#: The bytes of small files; those of larger ones are in the blob store. On SQLite a table with row ids: bytes are
#: appended, and only the short index of digests is written at random places.
artifact_contents = Table("artifact_contents", METADATA, key("digest", String), required("data", Bytes))

#: Multipart uploads in progress; a part is a blob of its own until the upload is completed.
artifact_parts = Table(
    "artifact_parts",
    METADATA,
    key("upload_id", String),
    key("part", Int64),
    required("path", String),
    required("digest", String),  # empty in the row of part 0, which stands for the upload itself
    required("size", Int64),
    required("created_ms", Int64),
    sqlite_with_rowid=False,
)
