"""Runs that a program starts: found by a tag that MLflow's clients put on each of them.

They do so with what the variable MLFLOW_RUN_CONTEXT holds, a JSON object of tags (mlflow/tracking/context/
system_environment_context.py); `mlflow.start_run` and autologging, but not `MlflowClient.create_run`. This is for
clients of a server: nothing here touches its tables.
"""

import json
from collections.abc import Mapping
from typing import Any

from mlwright.kernel.client import Client

VARIABLE = "MLFLOW_RUN_CONTEXT"


def variables(tags: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """What a program's environment gets, so that its runs have these tags and those that `environment` gives already.

    What is not a JSON object is no tags.
    """
    try:
        given = json.loads(environment.get(VARIABLE, "") or "{}")
    except ValueError:
        given = {}
    return {VARIABLE: json.dumps({**(given if isinstance(given, dict) else {}), **tags})}


def runs(client: Client, tag: str, value: str, order: str, most: int, condition: str = "") -> list[dict[str, Any]]:
    """The runs with the tag, at most so many.

    Args:
        value: without quotes.
        order: by their start: ASC or DESC.
        condition: what else must hold, in MLflow's language.
    """
    query = f"tags.`{tag}` = '{value}'" + (f" AND {condition}" if condition else "")
    return client.pages("/v1/runs", most, filter=query, order_by=[f"attributes.start_time {order}"])
