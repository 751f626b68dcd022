"""The health check of an image: `python -I check_container.py`. Exits with 0 when all that it serves can answer."""

import http.client
import json
import os
import sys

_SECONDS = 4.0

if __name__ == "__main__":
    given = os.environ.get("MLWRIGHT_ADDRESS", "")
    address = given if given not in {"", "0.0.0.0", "::"} else "127.0.0.1"  # noqa: S104 - it is compared with
    connection = http.client.HTTPConnection(address, int(os.environ.get("MLWRIGHT_PORT", "8080")), timeout=_SECONDS)
    try:
        connection.request("GET", "/v2/health/ready")
        ready = json.loads(connection.getresponse().read()).get("ready")
    except (OSError, http.client.HTTPException, ValueError) as error:
        sys.exit(f"no answer: {error}")
    sys.exit(0 if ready else "it is not ready")
