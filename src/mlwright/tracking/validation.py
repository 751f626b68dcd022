"""Limits and names, with the texts of MLflow's messages, which clients show and some parse."""

import math
import re
from collections.abc import Sequence
from functools import lru_cache

from mlwright.kernel.checks import check_length, check_name, invalid_value
from mlwright.kernel.errors import Invalid
from mlwright.tracking.spec import Metric, Param, Tag

MAX_KEY_LENGTH = 250
MAX_PARAM_LENGTH = 6_000
MAX_TAG_LENGTH = 8_000
MAX_EXPERIMENT_TAG_LENGTH = 20_000
MAX_EXPERIMENT_NAME_LENGTH = 500
MAX_BATCH_METRICS = 1_000
MAX_BATCH_PARAMS = 100
MAX_BATCH_TAGS = 100
MAX_BATCH_TOTAL = 1_000
MAX_DATASET_NAME_LENGTH = 500
MAX_DATASET_DIGEST_LENGTH = 36
MAX_DATASET_SOURCE_LENGTH = 65_535
MAX_DATASET_SCHEMA_LENGTH = 1_048_575
MAX_DATASET_PROFILE_LENGTH = 16_777_215
MAX_INPUT_TAG_KEY_LENGTH = 255
MAX_INPUT_TAG_VALUE_LENGTH = 500

_INT64_MAX = 2**63 - 1
MAX_DOUBLE = 1.7976931348623157e308
_EXPERIMENT_ID = re.compile(r"-?\d{1,18}\Z")


@lru_cache(maxsize=4_096)
def _is_good_key(key: str) -> bool:
    """Whether a short key is a name: a thousand keys come again with every batch."""
    try:
        check_name(key, "")
    except Invalid:
        return False
    return True


def _is_good(metric: Metric) -> bool:
    """Whether `check_metric` would say nothing."""
    if len(metric.key) > MAX_KEY_LENGTH or not _is_good_key(metric.key):
        return False
    return 0 <= metric.timestamp <= _INT64_MAX and -_INT64_MAX - 1 <= metric.step <= _INT64_MAX


def check_metric(metric: Metric, path: str = "") -> None:
    """Name, time and length of one point. The value may be any double."""
    if _is_good(metric):
        return
    prefix = f"{path}." if path else ""
    check_name(metric.key, f"{prefix}name")
    if not 0 <= metric.timestamp <= _INT64_MAX:
        raise invalid_value(
            f"{prefix}timestamp",
            metric.timestamp,
            f"metric '{metric.key}' (value={metric.value}). Timestamp must be a nonnegative long (64-bit integer) ",
        )
    if not -_INT64_MAX - 1 <= metric.step <= _INT64_MAX:
        raise invalid_value(f"{prefix}step", metric.step, f"metric '{metric.key}'. Step must be a 64-bit integer ")
    check_length("Metric name", metric.key, MAX_KEY_LENGTH)


def clamp(value: float) -> float:
    """Infinity becomes the largest double, as in MLflow; NaN stays."""
    return math.copysign(MAX_DOUBLE, value) if math.isinf(value) else value


def check_param(param: Param, path: str = "") -> None:
    check_name(param.key, f"{path}.key" if path else "key")
    check_length("Param key", param.key, MAX_KEY_LENGTH)
    check_length("Param value", param.value, MAX_PARAM_LENGTH)


def check_tag(tag: Tag, path: str = "", limit: int = MAX_TAG_LENGTH) -> None:
    prefix = f"{path}." if path else ""
    check_name(tag.key, f"{prefix}key")
    check_length(f"{prefix}key", tag.key, MAX_KEY_LENGTH)
    check_length(f"{prefix}value", tag.value, limit)


def check_batch(metrics: Sequence[Metric], params: Sequence[Param], tags: Sequence[Tag]) -> None:
    """Contents first, then the counts, then repeated parameters: MLflow's order of complaints."""
    for index, metric in enumerate(metrics):
        if not _is_good(metric):
            check_metric(metric, f"metrics[{index}]")
    for index, param in enumerate(params):
        check_param(param, f"params[{index}]")
    for index, tag in enumerate(tags):
        check_tag(tag, f"tags[{index}]")
    _check_count("metrics", len(metrics), MAX_BATCH_METRICS)
    _check_count("params", len(params), MAX_BATCH_PARAMS)
    _check_count("tags", len(tags), MAX_BATCH_TAGS)
    _check_count("metrics, params, and tags", len(metrics) + len(params) + len(tags), MAX_BATCH_TOTAL)
    seen: set[str] = set()
    repeated = [param.key for param in params if param.key in seen or seen.add(param.key)]  # type: ignore[func-returns-value]
    if repeated:
        raise Invalid(
            f"Duplicate parameter keys have been submitted: {repeated}. Please ensure the request contains only one"
            " param value per param key.",
            path="params",
        )


def _check_count(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise Invalid(
            f"A batch logging request can contain at most {limit} {what}. Got {count} {what}. Please split up {what}"
            " across multiple requests and try again.",
            path=what,
        )


def check_experiment_name(name: str) -> None:
    if not name:
        raise Invalid(f"Invalid experiment name: '{name}'", path="name")
    check_length("name", name, MAX_EXPERIMENT_NAME_LENGTH)


def parse_experiment_id(text: str) -> int:
    """The number behind an experiment id. Raises Invalid when it is none."""
    if not _EXPERIMENT_ID.match(text):
        raise Invalid(f"Invalid experiment ID '{text}'. Experiment ID must be a valid integer.", path="experiment_id")
    return int(text)


def check_artifact_location(location: str) -> None:
    """Where an experiment keeps its artifacts: a plain URI, without query, fragment or way out of its folder."""
    if location.startswith("runs:"):
        raise Invalid(f"Artifact location cannot be a runs:/ URI. Given: '{location}'", path="artifact_location")
    check_length("artifact_location", location, 2_048)
    if "?" in location or "#" in location or "\x00" in location:
        raise Invalid(
            f"The artifact location URI {location!r} cannot contain '?', '#' or NUL", path="artifact_location"
        )
    if any(part == ".." for part in re.split(r"[/\\]|%2[fF]|%5[cC]", location.replace("%2e", ".").replace("%2E", "."))):
        raise Invalid(f"Invalid artifact location: {location!r} leads out of its folder", path="artifact_location")
