"""Tells what a Python has installed, as JSON. Runs in that Python, 3.9 or newer, with nothing of ours."""

import json
import platform
import sys
from importlib import metadata
from typing import Any

sys.path[:] = sys.path[1:]  # not the folder of this file


def packages() -> list[dict[str, Any]]:
    """The distributions by name; the first on the path is the one that is imported."""
    found: dict[str, dict[str, Any]] = {}
    for item in metadata.distributions():
        name = (item.metadata["Name"] or "").lower().replace("_", "-")
        if name and name not in found:
            origin = item.read_text("direct_url.json")
            found[name] = {"name": name, "version": item.version, "origin": json.loads(origin) if origin else None}
    return [found[name] for name in sorted(found)]


def describe() -> dict[str, Any]:
    """Everything."""
    return {
        "python": {"version": sys.version, "implementation": platform.python_implementation()},
        "version": platform.python_version(),
        "platform": {
            "system": platform.platform(),
            "machine": platform.machine(),
            "libc": " ".join(platform.libc_ver()),
        },
        "packages": packages(),
    }


if __name__ == "__main__":
    print(json.dumps(describe()))
