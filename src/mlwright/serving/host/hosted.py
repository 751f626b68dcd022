"""What is served, by name: what is known of it without asking a model."""

from collections.abc import Callable, Mapping
from typing import Any

from mlwright.kernel.errors import NotFound
from mlwright.serving.host.admission import Door
from mlwright.serving.host.endpoints import Endpoint
from mlwright.serving.host.recording import Recorder
from mlwright.serving.host.takes import takes_of
from mlwright.serving.host.traces import Naming
from mlwright.serving.host.versions import Version


class Hosted:
    """Everything that is served, by name.

    Args:
        recorder: keeps predictions.
        now: seconds that never go back.

    Attributes:
        metrics_door: who may see the metrics.
    """

    def __init__(self, recorder: Recorder, now: Callable[[], float]) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self.recorder = recorder
        self.now = now
        self.naming = Naming()
        self.metrics_door = Door({})

    def endpoint(self, name: str) -> Endpoint:
        """Raises NotFound."""
        found = self.endpoints.get(name)
        if found is None:
            raise NotFound(f"there is no endpoint {name!r}", path="endpoint")
        return found

    def only(self) -> Endpoint:
        """The one endpoint there is. Raises NotFound when there is none or several."""
        if len(self.endpoints) != 1:
            raise NotFound("name the endpoint: /endpoints/NAME/invocations", path="endpoint")
        return next(iter(self.endpoints.values()))


def named_version(endpoint: Endpoint, version: str) -> Version:
    """The version of that number, the stable one when it is empty. Raises NotFound."""
    if not version:
        return endpoint.stable
    for each in endpoint.versions.values():
        if str(each.revision.version) == version:
            return each
    raise NotFound(f"the endpoint {endpoint.served.name!r} has no version {version!r}", path="version")


def metadata(endpoint: Endpoint, version: str) -> dict[str, Any]:
    """A version in the words of the Open Inference Protocol. Raises NotFound."""
    found = named_version(endpoint, version)
    return {
        "name": endpoint.served.name,
        "versions": sorted({str(each.revision.version) for each in endpoint.versions.values()}),
        "platform": f"{found.revision.loader}_mlwright",
        "inputs": [
            {"name": each.name, "datatype": each.datatype, "shape": [-1, *each.row]} for each in found.takes.inputs
        ],
        "outputs": _outputs(found.revision.signature),
    }


def _outputs(signature: Mapping[str, Any]) -> list[dict[str, Any]]:
    outputs = takes_of({"inputs": signature.get("outputs")}).inputs
    only = len(outputs) == 1
    return [
        {"name": "predictions" if only else each.name, "datatype": each.datatype, "shape": [-1, *each.row]}
        for each in outputs
    ]
