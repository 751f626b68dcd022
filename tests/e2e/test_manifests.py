"""`mlwright export compose`, `k8s` and `kserve`: what they write keeps to the published schemas."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from mlwright.app.cli import cli
from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.kernel.errors import AlreadyExists, Invalid, NotFound
from mlwright.serving.manifests import KINDS, Subject, manifests
from mlwright.serving.spec import Scaling
from tests.components import peer_python
from tests.unit.registry.registered import Registered

#: The oldest Kubernetes that they are for, and a newer one.
KUBERNETES = ("1.30", "1.36")
#: KServe publishes its schema with its operator only; the parts of it that are used here.
PREDICTOR = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout", "containers", "volumes"}


@pytest.fixture
def typed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLWRIGHT_DATA", str(data_dir))
    platform = Platform(Settings(data=data_dir))
    Registered(platform).register()
    platform.close()
    return lambda *words: CliRunner().invoke(cli, words)


def kubernetes(*files: Path | str) -> int:
    """The exit status of a strict look at manifests."""
    checker = peer_python("kubernetes-validate").parent / "kubernetes-validate"
    command = [[str(checker), "--strict", "-k", version, *map(str, files)] for version in KUBERNETES]
    return max(subprocess.run(each, capture_output=True, check=False).returncode for each in command)


def broken(file: Path, old: str, new: str) -> Path:
    text = file.read_text()
    assert old in text
    (file.with_name(f"broken-{file.name}")).write_text(text.replace(old, new))
    return file.with_name(f"broken-{file.name}")


@pytest.mark.component
def test_kubernetes_takes_the_manifests(typed: Any, tmp_path: Path) -> None:
    image = f"registry.example.org:5000/team/tree@sha256:{'a' * 64}"
    done = typed("export", "k8s", "tree/1", "-o", str(tmp_path), "--image", image, "--replicas", "2", "5")
    assert done.exit_code == 0, done.exception
    files = [Path(line) for line in done.stdout.splitlines()]
    assert kubernetes(*files) == 0
    assert kubernetes(broken(files[0], "readOnlyRootFilesystem", "readOnlyRoot")) != 0
    found = {(each := yaml.safe_load(file.read_text()))["kind"]: each for file in files}
    assert set(found) == {"Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"}
    deployment = found["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    assert (deployment["replicas"], container["image"]) == (2, image)
    assert (pod["securityContext"]["runAsNonRoot"], container["securityContext"]["readOnlyRootFilesystem"]) == (
        True,
        True,
    )
    selector = deployment["selector"]["matchLabels"]
    assert selector == found["Service"]["spec"]["selector"]
    assert selector == found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]
    assert selector.items() <= deployment["template"]["metadata"]["labels"].items()
    scaler = found["HorizontalPodAutoscaler"]["spec"]
    assert (scaler["scaleTargetRef"]["name"], scaler["maxReplicas"]) == (found["Deployment"]["metadata"]["name"], 5)


@pytest.mark.component
def test_compose_takes_the_file(typed: Any, tmp_path: Path) -> None:
    checker = peer_python("check-jsonschema")
    assert typed("export", "compose", "tree/1", "-o", str(tmp_path)).exit_code == 0
    command = [str(checker), "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    file = tmp_path / "compose.yaml"
    assert subprocess.run([*command, str(file)], capture_output=True, check=False).returncode == 0
    wrong = broken(file, "read_only", "readonly")
    assert subprocess.run([*command, str(wrong)], capture_output=True, check=False).returncode != 0


@pytest.mark.component
def test_kserve_gets_a_predictor_whose_container_is_one_of_kubernetes(typed: Any, tmp_path: Path) -> None:
    done = typed("export", "kserve", "tree/1")
    service = yaml.safe_load(done.stdout)
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert set(service) == {"apiVersion", "kind", "metadata", "spec"}
    predictor = service["spec"]["predictor"]
    assert set(predictor) == PREDICTOR
    (container,) = predictor["containers"]
    assert container["name"] == "kserve-container"
    assert {"name": "PROTOCOL", "value": "v2"} in container["env"]
    spec = {"containers": [container], "volumes": predictor["volumes"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tree"}, "spec": spec}
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(pod))
    assert kubernetes(tmp_path / "pod.yaml") == 0


ENDPOINT = """apiVersion: mlwright.dev/v1
kind: Endpoint
metadata: {name: delays}
spec: {model: tree/1, scaling: {min: 3, max: 7}, limits: {memoryMib: 777}}
"""


def test_an_endpoint_brings_its_name_its_processes_and_its_limits(typed: Any, tmp_path: Path) -> None:
    (tmp_path / "endpoint.yaml").write_text(ENDPOINT)
    applied = typed("apply", "-f", str(tmp_path / "endpoint.yaml"))
    assert applied.exit_code == 0, (applied.output, applied.exception)
    found = list(yaml.safe_load_all(typed("export", "k8s", "delays").stdout))
    assert {each["metadata"]["name"] for each in found} == {"delays"}
    assert (found[0]["spec"]["replicas"], found[3]["spec"]["maxReplicas"]) == (3, 7)
    (container,) = found[0]["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["resources"]["limits"]["memory"]) == ("mlwright/tree:1", "777Mi")
    fewer = yaml.safe_load(typed("export", "kserve", "delays", "--replicas", "0", "1").stdout)
    assert fewer["spec"]["predictor"]["minReplicas"] == 0


def test_files_that_say_something_else_stay(typed: Any, tmp_path: Path) -> None:
    assert typed("export", "compose", "tree/1", "-o", str(tmp_path)).exit_code == 0
    assert typed("export", "compose", "tree/1", "-o", str(tmp_path)).exit_code == 0  # they say the same
    other = typed("export", "compose", "tree/1", "-o", str(tmp_path), "--memory", "512")
    assert isinstance(other.exception, AlreadyExists)
    assert typed("export", "compose", "tree/1", "-o", str(tmp_path), "--memory", "512", "--force").exit_code == 0
    assert "512M" in (tmp_path / "compose.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("tree@nobody",), NotFound),
        (("no-such-endpoint",), NotFound),
        (("tree/1", "--image", "x; rm -rf /"), Invalid),
        (("tree/1", "--image", "x\nprivileged: true"), Invalid),
        (("tree/1", "--replicas", "3", "1"), Invalid),
    ],
)
def test_what_makes_no_sense_is_refused(typed: Any, words: tuple[str, ...], kind: type[Exception]) -> None:
    done = typed("export", "k8s", *words)
    assert (type(done.exception), done.stdout) == (kind, "")


@pytest.mark.parametrize("name", ["Flights Delayed", "9lives", "ümlaut", "a" * 90, "--", "trailing-" * 8])
def test_names_are_those_that_kubernetes_takes(name: str) -> None:
    subject = Subject(name, "mlwright/model:1", name, 1, "sha256:00", scaling=Scaling(min=0))
    for kind in KINDS:
        for text in manifests(kind, subject).values():
            document = yaml.safe_load(text)
            found = document["name"] if kind == "compose" else document["metadata"]["name"]
            assert found.strip("-") == found
            assert found[0].isalpha()
            assert len(found) <= 63
            assert found.replace("-", "").isalnum()
            assert found.isascii()
