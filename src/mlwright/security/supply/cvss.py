"""The base score of CVSS 3.0 and 3.1, as https://www.first.org/cvss/v3.1/specification-document (7.1) computes it."""

import math

_EXPLOIT = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "UI": {"N": 0.85, "R": 0.62},
}
_PRIVILEGES = {"U": {"N": 0.85, "L": 0.62, "H": 0.27}, "C": {"N": 0.85, "L": 0.68, "H": 0.5}}
_IMPACT = {"H": 0.56, "L": 0.22, "N": 0.0}


def base_score(vector: str) -> float | None:
    """From 0 to 10; None for what is no vector of these versions, such as those of CVSS 2 and 4."""
    head, _, rest = vector.partition("/")
    if head not in {"CVSS:3.0", "CVSS:3.1"}:
        return None
    metrics = dict(part.split(":", 1) for part in rest.split("/") if ":" in part)
    try:
        scope = metrics["S"]
        privileges = _PRIVILEGES[scope][metrics["PR"]]
        exploit = 8.22 * privileges * math.prod(values[metrics[name]] for name, values in _EXPLOIT.items())
        left = math.prod(1 - _IMPACT[metrics[name]] for name in ("C", "I", "A"))
    except KeyError:
        return None
    lost = 1 - left
    impact = 6.42 * lost if scope == "U" else 7.52 * (lost - 0.029) - 3.25 * (lost - 0.02) ** 15
    if impact <= 0:
        return 0.0
    return _rounded_up(min((impact + exploit) * (1.0 if scope == "U" else 1.08), 10))


def _rounded_up(value: float) -> float:
    """Up to one decimal place, without the errors of binary fractions (appendix A)."""
    whole = round(value * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else (whole // 10_000 + 1) / 10
