"""Names of models, aliases and stages, with the texts of MLflow's messages."""

import posixpath
import re
import unicodedata
from collections.abc import Mapping

from mlwright.kernel import checks
from mlwright.kernel.errors import Invalid
from mlwright.registry.spec import Stage

MAX_NAME_LENGTH = 256
MAX_TEXT_LENGTH = 100_000
MAX_TAG_KEY_LENGTH = 250
MAX_TAG_LENGTH = 100_000
MAX_ALIAS_LENGTH = 255
MAX_SOURCE_LENGTH = 2_000
_ALIAS = re.compile(r"[\w\-]*\Z")
_VERSION_ALIAS = re.compile(r"[vV]\d+\Z")
#: Unicode's categories of what controls, formats or separates lines, and of halves of characters.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_STAGES = {stage.value.lower(): stage for stage in Stage}


def check_model_name(name: str, path: str = "name") -> None:
    """Names are free but for "/" and ":", which URIs of models give a meaning, and what nobody sees. Raises Invalid."""
    if not name.strip():
        raise Invalid(f"Missing value for required parameter '{path}'.", path=path)
    if "/" in name or ":" in name:
        raise Invalid(f"Invalid model name '{name}'. Names cannot contain '/' or ':'.", path=path)
    # MLflow takes them. A name with them looks like another one, or moves the cursor of who lists it.
    hidden = next((sign for sign in name if unicodedata.category(sign) in _HIDDEN), None)
    if hidden is not None:
        raise Invalid(
            f"Invalid model name {name!a}: it has the character U+{ord(hidden):04X}, which cannot be seen.",
            path=path,
            hint="leave out what controls or formats text",
        )
    normal = posixpath.normpath(name)
    if normal != name or normal == "." or normal.startswith(".."):
        raise checks.invalid_value(
            "name",
            name,
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as such."
            f" This name would resolve to {normal!r}",
        )
    checks.check_length(path, name, MAX_NAME_LENGTH)


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises Invalid for tags with names or lengths that MLflow does not take."""
    checks.check_many("tags", list(tags))
    for key, value in tags.items():
        check_tag_key(key)
        checks.check_length("key", key, MAX_TAG_KEY_LENGTH)
        checks.check_length("value", value, MAX_TAG_LENGTH)


def check_tag_key(key: str) -> None:
    checks.check_name(key, "key")


def check_alias(alias: str) -> None:
    """Letters, digits, "_" and "-". Raises Invalid."""
    if not alias:
        raise Invalid("Registered model alias name cannot be empty.", path="alias")
    if not _ALIAS.match(alias):
        raise Invalid(
            f"Invalid alias name: '{alias}'. Names may only contain alphanumerics, underscores (_), and dashes (-).",
            path="alias",
        )
    checks.check_length("Registered model alias name", alias, MAX_ALIAS_LENGTH)


def check_new_alias(alias: str) -> None:
    """Aliases that mean something already cannot be given: "latest", "v3". Raises Invalid."""
    check_alias(alias)
    if alias.lower() == "latest":
        raise Invalid("'latest' alias name (case insensitive) is reserved.", path="alias")
    if _VERSION_ALIAS.match(alias):
        raise Invalid(f"Version alias name '{alias}' is reserved.", path="alias")


def parse_version(text: str) -> int:
    """The number of a version. Raises Invalid when it is none."""
    try:
        number = int(text) if len(text) <= MAX_NAME_LENGTH else None
    except ValueError:
        number = None
    if number is None:
        raise Invalid(f"Parameter 'version' must be an integer, got '{text}'.", path="version")
    return number if 0 < number < 1 << 63 else 0


def parse_stage(text: str) -> Stage:
    """A stage by its name in any case. Raises Invalid."""
    found = _STAGES.get(text.lower())
    if found is None:
        names = ", ".join(stage.value for stage in Stage)
        raise Invalid(f"Invalid Model Version stage: {text}. Value must be one of {names}.", path="stage")
    return found
