"""Previews of artifact files: what kind a file is, and its first part in a form that a page can show."""

import csv
import io
import json
from collections.abc import Mapping

import msgspec

from mlwright.web import markdown

_IMAGES = {"png", "jpg", "jpeg", "gif", "webp", "avif", "bmp", "ico", "svg"}
_TABLES = {"csv", "tsv"}
_PAGES = {"html", "htm"}
_SOUNDS = {"mp3", "wav", "ogg", "flac", "m4a"}
_FILMS = {"mp4", "webm", "mov"}
_MARKDOWN = {"md", "markdown"}
_TEXTS = {
    "txt", "log", "py", "js", "ts", "css", "yaml", "yml", "toml", "ini", "cfg", "conf", "sh", "sql", "xml", "r", "java",
    "c", "cpp", "h", "rs", "go", "ipynb", "jsonl", "patch", "diff", "lock", "env", "mlmodel", "rst", "tex", "bat", "pl",
}  # fmt: skip
_TEXT_NAMES = {"mlmodel", "dockerfile", "makefile", "license", "readme", "mlproject", "requirements"}

#: How much of a file of each kind is read for its preview, in bytes.
READ_BYTES: Mapping[str, int] = {"table": 4 << 20, "json": 8 << 20, "text": 256 << 10, "markdown": 512 << 10}
_MAX_ROWS = 500
_MAX_COLUMNS = 100
_CELL_CHARACTERS = 300
_TEXT_CHARACTERS = 256 << 10


class Preview(msgspec.Struct, frozen=True):
    """The first part of a file.

    Attributes:
        kind: "image", "table", "json", "text", "markdown", "html", "sound", "film", "pdf" or "other".
        text: of a text, JSON or Markdown file; for Markdown the safe HTML.
        columns, rows: of a table.
        cut: whether the file has more than is shown.
        problem: why there is no preview.
    """

    kind: str
    text: str = ""
    columns: list[str] = []
    rows: list[list[str]] = []
    cut: bool = False
    problem: str = ""


def kind_of(path: str) -> str:
    """The kind of a file by its name."""
    name = path.rpartition("/")[2].lower()
    stem, dot, extension = name.rpartition(".")
    if not dot:
        return "text" if name in _TEXT_NAMES else "other"
    kinds = (
        ("image", _IMAGES), ("table", _TABLES), ("html", _PAGES), ("sound", _SOUNDS), ("film", _FILMS),
        ("markdown", _MARKDOWN), ("text", _TEXTS), ("json", {"json"}), ("pdf", {"pdf"}),
    )  # fmt: skip
    return next((kind for kind, extensions in kinds if extension in extensions), "text" if not stem else "other")


def preview(path: str, content: bytes, size: int) -> Preview:
    """The preview of a file whose first bytes are `content`.

    Args:
        size: of the whole file, in bytes.
    """
    kind = kind_of(path)
    cut = size > len(content)
    if kind == "table":
        return _table(_text(content), "\t" if path.lower().endswith(".tsv") else ",", cut)
    if kind == "json":
        return _json(content, cut)
    if kind == "markdown":
        return Preview("markdown", str(markdown.render(_text(content))), cut=cut)
    if kind == "text":
        if b"\0" in content[:1024]:
            return Preview("other", problem="binary")
        text = _text(content)
        return Preview("text", text[:_TEXT_CHARACTERS], cut=cut or len(text) > _TEXT_CHARACTERS)
    return Preview(kind)


def _text(content: bytes) -> str:
    return content.decode("utf-8-sig", "replace")


def _table(text: str, delimiter: str, cut: bool) -> Preview:
    lines = csv.reader(io.StringIO(text), delimiter=delimiter)
    rows: list[list[str]] = []
    try:
        for line in lines:
            if len(rows) > _MAX_ROWS:
                break
            rows.append([_cell(value) for value in line[:_MAX_COLUMNS]])
    except csv.Error as error:
        return Preview("text", text[:_TEXT_CHARACTERS], cut=cut, problem=str(error))
    if not rows:
        return Preview("table")
    return Preview("table", columns=rows[0], rows=rows[1 : _MAX_ROWS + 1], cut=cut or len(rows) > _MAX_ROWS)


def _json(content: bytes, cut: bool) -> Preview:
    if cut:
        return Preview("text", _text(content)[:_TEXT_CHARACTERS], cut=True)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return Preview("text", _text(content)[:_TEXT_CHARACTERS])
    if _is_table(document):
        rows = [[_cell(value) for value in line[:_MAX_COLUMNS]] for line in document["data"][:_MAX_ROWS]]
        columns = [str(name) for name in document["columns"][:_MAX_COLUMNS]]
        return Preview("table", columns=columns, rows=rows, cut=len(document["data"]) > _MAX_ROWS)
    text = json.dumps(document, indent=2, ensure_ascii=False)
    return Preview("json", text[:_TEXT_CHARACTERS], cut=len(text) > _TEXT_CHARACTERS)


def _is_table(document: object) -> bool:
    """Whether it is what mlflow.log_table writes: {"columns": […], "data": [[…], …]}."""
    if not isinstance(document, dict) or not isinstance(document.get("columns"), list):
        return False
    data = document.get("data")
    return isinstance(data, list) and all(isinstance(line, list) for line in data)


def _cell(value: object) -> str:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _CELL_CHARACTERS else f"{text[: _CELL_CHARACTERS - 1]}…"
