"""Pin the newest allowed packages by hash: writes constraints/dev.txt and constraints/demo.txt.

The files hold for Python 3.11 to 3.13 (environment markers where versions differ) and name no package index.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Pinned by `make constraints` from pyproject.toml ({what}). Do not edit by hand.\n"


def resolve(extra: str, *, with_core: bool) -> str:
    """Return the pinned lines for one extra, together with the package's own dependencies or alone."""
    source = [str(ROOT / "pyproject.toml"), "--extra", extra]
    standard_input = None
    if not with_core:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        standard_input = "\n".join(project["optional-dependencies"][extra])
        source = ["-"]
    command = [
        str(Path(sys.executable).parent / "uv"), "pip", "compile", *source, "--quiet", "--upgrade",
        "--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url",
        "--no-emit-find-links", "--no-header", "--no-annotate", "--no-emit-package", "mlwright",
    ]  # fmt: skip
    done = subprocess.run(command, input=standard_input, cwd=ROOT, text=True, stdout=subprocess.PIPE, check=True)
    return done.stdout


def main() -> None:
    """Write both files."""
    for extra, with_core in (("dev", True), ("demo", False)):
        target = ROOT / "constraints" / f"{extra}.txt"
        text = HEADER.format(what=f"extra {extra}") + resolve(extra, with_core=with_core)
        target.write_text(text)
        print(f"{target.relative_to(ROOT)}: {sum('==' in line for line in text.splitlines())} packages")


if __name__ == "__main__":
    main()
