"""Docker, through its own program: whichever daemon that talks to gets the image."""

import shutil
import subprocess
from contextlib import suppress

from mlwright.kernel.errors import Unavailable
from mlwright.serving.images.archive import Image, pour
from mlwright.serving.images.layers import Layers

_SECONDS = 20.0
_HINT = "start it, or write a file: -o FILE.tar"


def is_running() -> bool:
    """Whether a daemon answers."""
    program = shutil.which("docker")
    if program is None:
        return False
    try:
        command = [program, "version", "--format", "{{.Server.Version}}"]
        return subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def load(image: Image, layers: Layers) -> None:
    """Give the image to the daemon. Raises Unavailable with what it says."""
    program = shutil.which("docker")
    if program is None:
        raise Unavailable("there is no program `docker` here", hint=_HINT)
    with subprocess.Popen(
        [program, "load", "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError), process.stdin:  # it says why
            pour(image, layers, process.stdin)
        said = " ".join(process.stdout.read().decode(errors="replace").split())
    if process.returncode:
        raise Unavailable(f"docker load failed: {said[-500:]}", hint=_HINT)
