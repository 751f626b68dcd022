"""Tables: every value comes back as it went in."""

import csv
import io
import json
import math
import sys
from typing import Any

import pytest

from mlwright.kernel.errors import Invalid
from mlwright.tracking import exporter
from mlwright.tracking.exporter import ColumnsOfRuns, open_writer, run_row
from mlwright.tracking.spec import Metric, Param, Run, RunInfo, RunStatus, Tag


def run(number: int, *metrics: Metric, params: tuple[Param, ...] = (), tags: tuple[Tag, ...] = ()) -> Run:
    info = RunInfo(
        number,
        f"{number:032x}",
        1,
        f"run {number}",
        "ada",
        RunStatus.FINISHED,
        5,
        None,
        active=True,
        artifact_uri="a:/",
    )
    return Run(info, list(metrics), list(params), list(tags), [], [], [])


RUNS = [
    run(1, Metric("loss", math.nan, 1), Metric("auc", 0.1 + 0.2, 1), params=(Param("text", 'a,"b"\n"曲"'),)),
    run(2, Metric("auc", 1.7976931348623157e308, 1), tags=(Tag("t", ""),)),
    run(3),
]
NAMES = [*exporter.ATTRIBUTES, "metrics.auc", "metrics.loss", "params.text", "tags.t"]


def written(form: str) -> bytes:
    columns = ColumnsOfRuns()
    columns.add(RUNS[:1])
    columns.add(RUNS[1:])
    writer = open_writer(form, columns.columns())
    return writer.rows([run_row(each) for each in RUNS[:2]]) + writer.rows([run_row(RUNS[2])]) + writer.end()


def test_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(written("csv").decode(), newline="")))
    assert list(rows[0]) == NAMES
    assert rows[0]["metrics.loss"] == "NaN"
    assert float(rows[0]["metrics.auc"]) == 0.1 + 0.2
    assert rows[0]["params.text"] == 'a,"b"\n"曲"'
    assert float(rows[1]["metrics.auc"]) == sys.float_info.max
    assert (rows[2]["metrics.auc"], rows[2]["end_ms"], rows[2]["active"]) == ("", "", "true")


def test_json_lines() -> None:
    rows = [json.loads(line) for line in written("json").splitlines()]
    assert rows[0]["metrics.loss"] == "NaN"
    assert rows[0]["metrics.auc"] == 0.1 + 0.2
    assert rows[1]["tags.t"] == ""
    assert "end_ms" not in rows[2]
    assert "metrics.auc" not in rows[2]


def test_parquet() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(io.BytesIO(written("parquet")))
    assert table.column_names == NAMES
    rows: list[dict[str, Any]] = table.to_pylist()
    assert math.isnan(rows[0]["metrics.loss"])
    assert rows[1]["metrics.auc"] == sys.float_info.max
    assert rows[1]["tags.t"] == ""
    assert rows[2]["metrics.auc"] is None
    assert table.schema.field("start_ms").type == "int64"


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_nothing_is_a_table_too(form: str) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    writer = open_writer(form, exporter.HISTORY)
    text = writer.end()
    if form == "csv":
        assert text == b"run_id,experiment_id,key,step,timestamp_ms,value\r\n"
    if form == "json":
        assert text == b""


def test_parquet_without_pyarrow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Invalid) as raised:
        open_writer("parquet", exporter.HISTORY)
    assert "pip install 'mlwright[parquet]'" in raised.value.hint


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(Invalid, match="xlsx"):
        open_writer("xlsx", exporter.HISTORY)
