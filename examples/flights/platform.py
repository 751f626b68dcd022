"""What MLflow's client does not know of the platform, over its REST API."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

SERVER_HINT = "this is a fault of the server: please report it with the server's log"


def ask(address: str, body: object = None) -> Any:
    """The JSON answer of a request, with a body for POST. Raises URLError and its kinds."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
