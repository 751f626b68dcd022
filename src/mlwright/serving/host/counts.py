"""What is counted of each version: cheap enough for every request, and read by whoever wants to know."""

from bisect import bisect_left
from typing import Any

from mlwright.serving.host.tensors import Array, not_numbers

#: Upper bounds of the buckets of latencies in seconds: each is a tenth wider than the one before, from 50 µs to 2 min.
BOUNDS = tuple(50e-6 * 1.1**step for step in range(155))

#: A batch has 1, 2-3, 4-7, … 64 requests.
BATCH_SIZES = 8


class Tally:
    """The counts of one revision since the host started.

    Attributes:
        requests, errors: answered, and those among them that failed by the version's fault.
        latency: requests by bucket of `BOUNDS`; the last one holds all that are slower.
        seconds: the sum of all latencies.
        run: failed requests since the last good one; longest_run: the most there ever were.
        numbers, nans: in its answers. wrong_outputs: answers that are not as the signature says.
        late: that their callers no longer waited for, sooner than the endpoint would have given up; no error.
        deaths: of its process.
        rows, disagreements: rows that were compared with the other version's answers.
        batches: by the binary digits of their number of requests; batched: requests in them.
    """

    __slots__ = (
        "batched", "batches", "deaths", "disagreements", "errors", "late", "latency", "longest_run", "nans", "numbers",
        "requests", "rows", "run", "seconds", "wrong_outputs",
    )  # fmt: skip

    def __init__(self) -> None:
        self.requests = self.errors = self.run = self.longest_run = self.deaths = 0
        self.wrong_outputs = self.numbers = self.nans = self.rows = self.disagreements = 0
        self.late = self.batched = 0
        self.seconds = 0.0
        self.batches = [0] * BATCH_SIZES
        self.latency = [0] * (len(BOUNDS) + 1)

    def answered(self, seconds: float) -> None:
        """A request was answered well."""
        self.requests += 1
        self.run = 0
        self.seconds += seconds
        self.latency[bisect_left(BOUNDS, seconds)] += 1

    def failed(self, seconds: float) -> None:
        """A request failed, by the version's fault."""
        self.requests += 1
        self.errors += 1
        self.run += 1
        self.longest_run = max(self.longest_run, self.run)
        self.seconds += seconds
        self.latency[bisect_left(BOUNDS, seconds)] += 1

    def batch(self, size: int) -> None:
        """So many requests went to the model together."""
        self.batches[size.bit_length()] += 1
        self.batched += size

    def given_up(self, seconds: float) -> None:
        """The caller of a request had less time than it took."""
        self.requests += 1
        self.late += 1
        self.seconds += seconds
        self.latency[bisect_left(BOUNDS, seconds)] += 1

    def looked_at(self, answer: list[Array]) -> None:
        """Count the numbers of an answer."""
        for each in answer:
            numbers, nans = not_numbers(each)
            self.numbers += numbers
            self.nans += nans

    def document(self) -> dict[str, Any]:
        """All counts."""
        return {name: getattr(self, name) for name in self.__slots__}
