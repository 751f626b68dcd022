"""Calls a user's function and writes down what it says: `python -I function_host.py REQUEST`.

Runs inside the model's own environment: only the standard library, no mlwright. REQUEST is a file with a JSON object:
`file`, `function`, `facts` (given to the function), and `answer` (the file to write to).
"""

import importlib.util
import json
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_WORDS = {True: "pass", False: "fail", None: "inconclusive"}


def answered(found: Any) -> dict[str, object]:
    """What a function may return, in one form: a verdict, a list of checks, or an object with both and a reason."""
    if found is None or isinstance(found, bool):
        return {"verdict": _WORDS[found], "reason": f"it returned {found}", "checks": []}
    if isinstance(found, str):
        return {"verdict": found, "reason": f"it returned {found}", "checks": []}
    if isinstance(found, Mapping):
        verdict, checks = found.get("verdict"), checked(found.get("checks") or [])
        said = _WORDS[verdict] if verdict is True or verdict is False else verdict
        return {"verdict": said, "reason": str(found.get("reason") or ""), "checks": checks}
    if isinstance(found, Iterable):
        return {"verdict": None, "reason": "", "checks": checked(found)}
    raise TypeError(f"a gate's function returns a verdict or checks, not {type(found).__name__}")


def checked(found: Iterable[Mapping[str, Any]]) -> list[dict[str, object]]:
    """Checks, each with a name, a verdict, and in words what was required and found."""
    return [
        {
            "name": str(each["name"]),
            "verdict": _WORDS[each["verdict"]] if isinstance(each["verdict"], bool) else str(each["verdict"]),
            "required": str(each.get("required", "")),
            "found": str(each.get("found", "")),
        }
        for each in found
    ]


def called(request: Mapping[str, Any]) -> dict[str, object]:
    """Call the function. What it raises is not a yes: an assertion that does not hold is a no."""
    file, (module, _, name) = Path(request["file"]), request["function"].partition(":")
    sys.path.insert(0, str(file.parent))
    specification = importlib.util.spec_from_file_location(module, file)
    if specification is None or specification.loader is None:
        raise ImportError(f"{file.name} is no Python file")
    loaded = importlib.util.module_from_spec(specification)
    sys.modules[module] = loaded
    try:
        specification.loader.exec_module(loaded)
        return answered(getattr(loaded, name)(request["facts"]))
    except AssertionError as error:
        traceback.print_exc()
        return {"verdict": "fail", "reason": f"an assertion failed: {error}", "checks": []}
    except Exception as error:  # the boundary of somebody's function: all that it raises is told
        traceback.print_exc()
        return {"verdict": "inconclusive", "reason": f"it raised {type(error).__name__}: {error}", "checks": []}


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_bytes())
    said = json.dumps(called(asked))
    Path(asked["answer"]).write_text(said, encoding="utf-8")
