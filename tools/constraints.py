"""Pin the newest allowed packages by hash: writes constraints/dev.txt, demo.txt and assets.txt.

The files hold for Python 3.11 to 3.13 (environment markers where versions differ) and name no package index.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from hatch_build import NODE_PACKAGE

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Pinned by `make constraints`. Do not edit by hand.\n"


def resolve(source: list[str], requirements: str | None = None) -> str:
    """Return the pinned lines for a source that uv understands ("-" reads the requirements given)."""
    command = [
        str(Path(sys.executable).parent / "uv"), "pip", "compile", *source, "--quiet", "--upgrade",
        "--universal", "--python-version", "3.11", "--generate-hashes",
        "--no-header", "--no-annotate", "--no-emit-package", "mlwright",
    ]  # fmt: skip
    done = subprocess.run(command, input=requirements, cwd=ROOT, text=True, stdout=subprocess.PIPE, check=True)
    return done.stdout


def main() -> None:
    """Write the three files: the project with its development tools, the demo's client side, a Node for npm."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    demo = "\n".join(project["optional-dependencies"]["demo"])
    files = {
        "dev": resolve([str(ROOT / "pyproject.toml"), "--extra", "dev"]),
        "demo": resolve(["-"], demo),
        "assets": resolve(["-"], NODE_PACKAGE),
    }
    for name, pins in files.items():
        target = ROOT / "constraints" / f"{name}.txt"
        target.write_text(HEADER + pins)
        print(f"{target.relative_to(ROOT)}: {pins.count('==')} packages")


if __name__ == "__main__":
    main()
