"""Which blobs are known to hold the bytes that they are named by, without reading them each time."""


class Soundness:
    """Stamps of blobs that were written or read whole, oldest first.

    A stamp is what the store says of an object, such as its time of change: another one once the bytes may be others.

    Args:
        most: stamps that are kept.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._stamps: dict[str, object] = {}

    def knows(self, digest: str, stamp: object) -> bool:
        """Whether the blob had these bytes when it had this stamp."""
        return self._stamps.get(digest) == stamp

    def note(self, digest: str, stamp: object) -> None:
        """The blob, with this stamp, holds the bytes that it is named by."""
        self._stamps.pop(digest, None)
        self._stamps[digest] = stamp
        if len(self._stamps) > self._most:
            self._stamps.pop(next(iter(self._stamps)), None)
