"""What a host is to serve, as the control plane writes it down. The file is all that a host needs to start alone."""

from typing import Any

import msgspec

from mlwright.serving.spec import Guards, Limits, Logging, Scaling


class Revision(msgspec.Struct, frozen=True, omit_defaults=True):
    """A version as an endpoint serves it.

    Attributes:
        number: counts the endpoint's revisions.
        folder: with the version's files, verified.
        python: of the environment it runs in.
        loader, options, generic: how it is loaded (`programs/modelworker/loaders.py`).
        signature: MLflow's, as in its description.
        example: a file with an input example, in MLflow's words; empty when there is none.
    """

    number: int
    model: str
    version: int
    folder: str
    python: str
    loader: str
    options: dict[str, Any] = {}
    generic: dict[str, Any] = {}
    signature: dict[str, Any] = {}
    example: str = ""
    digest: str = ""


class Served(msgspec.Struct, frozen=True, omit_defaults=True):
    """An endpoint.

    Attributes:
        stable: number of the revision that serves; candidate: of the one that is to take over, or 0.
        share: of the traffic that the candidate gets, from 0 to 1.
        mirror: share of the requests of which the candidate gets a copy.
        keys: SHA-256 of the keys that callers may use; empty when they need none.
    """

    name: str
    project: str
    stable: int
    revisions: list[Revision]
    candidate: int = 0
    share: float = 0.0
    mirror: float = 0.0
    tolerance: float = 1e-6
    entity: str = ""
    keys: dict[str, str] = {}
    guards: Guards = Guards()
    limits: Limits = Limits()
    logging: Logging = Logging()
    scaling: Scaling = Scaling()


class Desired(msgspec.Struct, frozen=True):
    """All of it.

    Attributes:
        generation: rises with every change.
        memory_mib: that all models together may take; those not used for longest are unloaded. 0 is no limit.
        metrics_keys: SHA-256 of the keys that open all of /metrics, by name; without any, everybody may read it. The
            key of an endpoint opens what is said of that.
    """

    generation: int
    endpoints: list[Served]
    memory_mib: int = 0
    metrics_keys: dict[str, str] = {}
