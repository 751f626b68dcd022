"""Names of models, aliases and stages, with the texts of MLflow's messages."""

import re

from mlwright.registry.spec import Stage

MAX_NAME_LENGTH = 256
MAX_TEXT_LENGTH = 100_000
MAX_TAG_KEY_LENGTH = 250
MAX_TAG_LENGTH = 100_000
MAX_ALIAS_LENGTH = 255
MAX_SOURCE_LENGTH = 2_000
_ALIAS = re.compile(r"[\w\-]*\Z")
_VERSION_ALIAS = re.compile(r"[vV]\d+\Z")
_STAGES = {stage.value.lower(): stage for stage in Stage}
