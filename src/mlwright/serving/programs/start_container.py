"""The first process of an image: `python -I start_container.py STATE`, where STATE is what is to be served.

Puts the state where the host may write, and becomes the keeper. MLWRIGHT_ADDRESS and MLWRIGHT_PORT say where to listen,
MLWRIGHT_RUN which folder is written to; the root may be read-only.
"""

import os
import shutil
import sys
from pathlib import Path

_KEEPER = Path(__file__).with_name("host_keeper.py")


def main() -> None:
    """See the module."""
    folder = os.environ.get("MLWRIGHT_RUN", "/tmp/mlwright")  # noqa: S108 - of a container
    Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(sys.argv[1], Path(folder) / "state.json")
    address, port = os.environ.get("MLWRIGHT_ADDRESS", "0.0.0.0"), os.environ.get("MLWRIGHT_PORT", "8080")  # noqa: S104
    host = [sys.executable, "-m", "mlwright.serving.host.main", folder]
    os.execv(sys.executable, [sys.executable, "-I", str(_KEEPER), folder, address, port, "--", *host])  # noqa: S606


if __name__ == "__main__":
    main()
