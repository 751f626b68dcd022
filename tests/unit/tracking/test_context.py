"""Tags that runs of a program get: those that were given already stay, beside its own."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlwright.kernel.client import Client, HttpTransport
from mlwright.registry.ci import training
from mlwright.registry.ci.spec import CiSpec
from mlwright.registry.ci.training import Source
from mlwright.tracking.service import context

_tags = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4)


@given(_tags, _tags)
def test_own_tags_win_over_those_that_were_given(before: dict[str, str], own: dict[str, str]) -> None:
    merged = context.variables(own, context.variables(before, {}))
    assert json.loads(merged[context.VARIABLE]) == {**before, **own}


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "null", '"tag"'])
def test_what_is_no_object_is_no_tags(text: str) -> None:
    assert json.loads(context.variables({"a": "b"}, {context.VARIABLE: text})[context.VARIABLE]) == {"a": "b"}


def test_a_job_keeps_the_tags_that_its_environment_gives(tmp_path: Path) -> None:
    told = tmp_path / "told"
    program = "import os, pathlib, sys; pathlib.Path(sys.argv[1]).write_text(os.environ['MLFLOW_RUN_CONTEXT'])"
    spec = CiSpec("m", [sys.executable, "-c", program, str(told)])
    environment = {context.VARIABLE: json.dumps({"team": "ops", training.JOB_TAG: "another"})}
    client = Client(HttpTransport("http://127.0.0.1:9"))
    training.train(client, spec, "job", Source("abc"), environment)
    assert json.loads(told.read_text()) == {
        "team": "ops", training.JOB_TAG: "job", "mlflow.source.git.commit": "abc",
    }  # fmt: skip
