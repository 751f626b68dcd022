"""A worker process in the peer's venv that does jobs with the real MLflow client (see `client_jobs`)."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType


class ClientJobs:
    """Context manager over one `client_jobs` process; `run` does one job and returns its figures."""

    def __init__(self, python: Path) -> None:
        self._process = subprocess.Popen(
            [str(python), str(Path(__file__).with_name("client_jobs.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )

    def __enter__(self) -> ClientJobs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=30)

    def run(self, job: str, url: str, **arguments: object) -> dict[str, float]:
        """The figures of one job. Raises `RuntimeError` with the job's own error."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the client process has no pipes")
        self._process.stdin.write(json.dumps({"job": job, "url": url, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the client process ended during {job}")
        answer: dict[str, dict[str, float]] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{job} on {url}: {answer['error']}")
        return answer["result"]
