"""What the registry needs from others, wired in `app`."""

from typing import Protocol

from starlette.responses import Response

from mlwright.artifacts.spec import ArtifactFile


class Files(Protocol):
    """The bytes of artifacts."""

    def read(self, file: ArtifactFile, limit: int) -> bytes:
        """The first `limit` bytes. Blocks."""
        ...

    def check(self, file: ArtifactFile) -> None:
        """Look at its bytes, unless they have not changed since. Blocks. Raises NotFound and Untrusted."""
        ...

    async def send(self, file: ArtifactFile) -> Response:
        """The answer to a download."""
        ...
