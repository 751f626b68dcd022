"""How webhooks are told, from MLflow's environment variables."""

import os
from collections.abc import Mapping

from mlwright.kernel.errors import Invalid
from mlwright.registry.webhooks.spec import WebhookSettings
from mlwright.security.sealing import KEY_VARIABLE

_SCHEMES = "MLFLOW_WEBHOOK_ALLOWED_SCHEMES"
_PRIVATE = "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS"
_TIMEOUT = "MLFLOW_WEBHOOK_REQUEST_TIMEOUT"
_RETRIES = "MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES"
_AT_ONCE = "MLFLOW_WEBHOOK_DELIVERY_MAX_WORKERS"
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def from_environment(environment: Mapping[str, str] = os.environ) -> WebhookSettings:
    """Raises Invalid for a value that is not understood: guards are not to be open by mistake."""
    defaults = WebhookSettings()
    schemes = [each.strip().lower() for each in environment.get(_SCHEMES, "").split(",") if each.strip()]
    unknown = [each for each in schemes if each not in {"http", "https"}]
    if unknown:
        raise Invalid(
            f"{unknown[0]!r} is no scheme of webhooks", path=_SCHEMES, hint="http or https, or both: http,https"
        )
    private = environment.get(_PRIVATE, "") or str(defaults.private)
    if private.lower() not in _TRUTH:
        raise Invalid(f"{private!r} is neither true nor false", path=_PRIVATE)
    return WebhookSettings(
        tuple(schemes) or defaults.schemes,
        _TRUTH[private.lower()],
        _number(environment, _TIMEOUT, int(defaults.timeout_s), 1, 300),
        _number(environment, _RETRIES, defaults.retries, 0, 100),
        _number(environment, _AT_ONCE, defaults.at_once, 1, 1_000),
    )


def key_from_environment(environment: Mapping[str, str] = os.environ) -> str:
    """The key that secrets are sealed with; empty when none is given."""
    return environment.get(KEY_VARIABLE, "")


def _number(environment: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environment.get(name, "") or str(default)
    if not (text.isascii() and text.isdigit() and low <= int(text[:9]) <= high):
        raise Invalid(f"{text!r} is no whole number from {low} to {high}", path=name)
    return int(text)
