"""Run as a program: store and read a large blob, and print by how many MiB the peak of resident memory grew.

python blob_memory.py LOCATION MIB
"""

import resource
import sys

from mlwright.kernel.blobs import Blobs, open_blobs

PIECE = bytes(range(256)) * 4096  # 1 MiB


def round_trip(blobs: Blobs, mib: int, first: bytes) -> None:
    """Store and read a blob of so many MiB; `first` makes it a new one."""
    writer = blobs.writer()
    writer.write(first)
    for _ in range(mib):
        writer.write(PIECE)
    blob = writer.commit()
    assert sum(map(len, blobs.read(blob.digest))) == blob.size == mib * len(PIECE) + len(first)


def peak_mib() -> float:
    """The most resident memory this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    store = open_blobs(sys.argv[1])
    round_trip(store, 1, b"warm")
    before = peak_mib()
    round_trip(store, int(sys.argv[2]), b"large")
    print(round(peak_mib() - before))
