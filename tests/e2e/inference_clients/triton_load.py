"""Asks over gRPC without pause until standard input ends: `triton_load.py GRPC_PORT THREADS [new|shared]`.

Prints how often each outcome came. `new`: each request on a channel of its own; `shared`: all on the same one.
"""

import sys
import threading
from collections import Counter

import numpy as np
import tritonclient.grpc as triton

#: Channels of one process share their connection otherwise. gRPC's own retries stay on, as in any client: without them
#: a channel refuses requests itself while it has heard that its connection ends, and has no other yet.
ARGUMENTS = [("grpc.use_local_subchannel_pool", int("shared" not in sys.argv))]
stopped = threading.Event()


def ask(port: str, seen: "Counter[str]", *, new: bool) -> None:
    """One client."""
    rows = triton.InferInput("rows", [1, 2], "FP64")
    rows.set_data_from_numpy(np.array([[2.0, 3.0]]))
    client = triton.InferenceServerClient(f"127.0.0.1:{port}", channel_args=ARGUMENTS)
    while not stopped.is_set():
        if new:
            client.close()
            client = triton.InferenceServerClient(f"127.0.0.1:{port}", channel_args=ARGUMENTS)
        try:
            found = client.infer("toy", [rows]).as_numpy("predictions").tolist()
            seen["good" if found in ([5.0], [105.0]) else f"wrong: {found}"] += 1
        except triton.InferenceServerException as error:
            seen[f"{error.status()}: {error.message()}"] += 1
    client.close()


def main() -> None:
    """Ask with all clients."""
    port, threads, new = sys.argv[1], int(sys.argv[2]), "new" in sys.argv
    counts: list[Counter[str]] = [Counter() for _ in range(threads)]
    clients = [threading.Thread(target=ask, args=(port, each), kwargs={"new": new}) for each in counts]
    for each in clients:
        each.start()
    print("started", flush=True)
    sys.stdin.read()
    stopped.set()
    for each in clients:
        each.join()
    whole = sum(counts, Counter())
    for outcome, times in whole.items():
        print(f"{times} {outcome}")


if __name__ == "__main__":
    main()
