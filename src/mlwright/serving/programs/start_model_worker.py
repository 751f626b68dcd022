"""Starts the package `modelworker` beside this file, without installing it: `python -I start_model_worker.py FD`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

if __name__ == "__main__":
    from modelworker.serving import main  # type: ignore[import-not-found]

    main()
