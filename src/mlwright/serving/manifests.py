"""Manifests that run the image of a version elsewhere: Docker Compose, Kubernetes, KServe.

https://github.com/compose-spec/compose-spec, https://kubernetes.io/docs/reference/kubernetes-api/ (1.30 or newer) and
https://kserve.github.io/website/docs/reference/crd-api
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from mlwright.kernel.errors import Invalid
from mlwright.serving.spec import Limits, Scaling

_PORT = 8080
_USER = 65_532
#: Longer than the host drains.
_GRACE_S = 60
_LEAST_MIB = 256
_IMAGE = re.compile(r"[a-z0-9]+([._:/-]+[A-Za-z0-9]+)*(@sha256:[0-9a-f]{64})?")
_PROBE = {"port": "http", "path": "/v2/health/ready"}
_LOCKED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}

Documents = dict[str, dict[str, Any]]


class Subject(NamedTuple):
    """What is to run.

    Attributes:
        endpoint: the name under which it answers.
        image: as whoever pulls it names it.
        digest, run_id: of the version; the latter may be empty.
        cpus: that one container may use.
    """

    endpoint: str
    image: str
    model: str
    version: int
    digest: str
    run_id: str = ""
    scaling: Scaling = Scaling()
    limits: Limits = Limits()
    cpus: float = 1.0


def manifests(kind: str, subject: Subject) -> dict[str, str]:
    """The texts of files, by name; `kind` is one of KINDS. Raises Invalid for an image that has no such name."""
    if not _IMAGE.fullmatch(subject.image):
        hint = "such as registry.example.org/team/flights:3"
        raise Invalid(f"{subject.image!r} is no name of an image", path="--image", hint=hint)
    documents = KINDS[kind](subject)
    return {f"{name}.yaml": msgspec.yaml.encode(document).decode() for name, document in documents.items()}


def _compose(subject: Subject) -> Documents:
    """One service; what is in the image, such as its health check, is not said again."""
    limits = {"cpus": f"{subject.cpus:g}", "memory": f"{subject.limits.memory_mib}M"}
    service: dict[str, Any] = {
        "image": subject.image,
        "ports": [f"{_PORT}:{_PORT}"],
        "user": f"{_USER}:{_USER}",
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108 - of a container
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "stop_grace_period": f"{_GRACE_S}s",
        "restart": "unless-stopped",
        "labels": _annotations(subject),
        "deploy": {"resources": {"limits": limits}},
    }
    return {"compose": {"name": _name(subject), "services": {_name(subject): service}}}


def _kubernetes(subject: Subject) -> Documents:
    name, labels, chosen = _name(subject), _labels(subject), {"app.kubernetes.io/name": _name(subject)}
    metadata = {"name": name, "labels": labels}
    least = max(subject.scaling.min, 1)
    template = {
        "metadata": {"labels": labels, "annotations": _annotations(subject)},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": _pod_security(),
            "terminationGracePeriodSeconds": _GRACE_S,
            "containers": [{"name": "host", **_container(subject)}],
            "volumes": _volumes(),
        },
    }
    deployment = {
        "replicas": least,
        "selector": {"matchLabels": chosen},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": template,
    }
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
    scaled = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    most = max(subject.scaling.max, least)
    scaler = {"scaleTargetRef": scaled, "minReplicas": least, "maxReplicas": most, "metrics": [cpu]}
    ports = [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]
    return {
        "deployment": {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": deployment},
        "service": {"apiVersion": "v1", "kind": "Service", "metadata": metadata,
                    "spec": {"selector": chosen, "ports": ports}},
        "poddisruptionbudget": {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata,
                                "spec": {"maxUnavailable": 1, "selector": {"matchLabels": chosen}}},
        "horizontalpodautoscaler": {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
                                    "metadata": metadata, "spec": scaler},
    }  # fmt: skip


def _kserve(subject: Subject) -> Documents:
    """A predictor with a container of its own, which speaks the Open Inference Protocol (`v2`)."""
    container = _container(subject)
    container["env"].append({"name": "PROTOCOL", "value": "v2"})
    # Knative gives the port its own name, allows no hooks, and has settings of containers only.
    container["ports"] = [{"containerPort": _PORT, "protocol": "TCP"}]
    container["securityContext"] |= _pod_security()
    for name in ("lifecycle", "startupProbe"):
        del container[name]
    for name in ("readinessProbe", "livenessProbe"):
        container[name]["httpGet"]["port"] = _PORT
    predictor = {
        "minReplicas": subject.scaling.min,
        "maxReplicas": max(subject.scaling.max, subject.scaling.min, 1),
        "scaleMetric": "concurrency",
        "scaleTarget": subject.scaling.concurrency,
        "timeout": -(-subject.limits.timeout_ms // 1_000),
        "containers": [{"name": "kserve-container", **container}],
        "volumes": _volumes(),
    }
    metadata = {"name": _name(subject), "labels": _labels(subject), "annotations": _annotations(subject)}
    return {
        "inferenceservice": {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": metadata,
            "spec": {"predictor": predictor},
        }
    }


def _container(subject: Subject) -> dict[str, Any]:
    memory = f"{subject.limits.memory_mib}Mi"
    least = {"cpu": f"{round(subject.cpus * 250)}m", "memory": f"{min(_LEAST_MIB, subject.limits.memory_mib)}Mi"}
    return {
        "image": subject.image,
        "ports": [{"name": "http", "containerPort": _PORT, "protocol": "TCP"}],
        "env": [{"name": "MLWRIGHT_PORT", "value": str(_PORT)}],
        "resources": {"requests": least, "limits": {"cpu": f"{subject.cpus:g}", "memory": memory}},
        "securityContext": dict(_LOCKED),
        "startupProbe": {"httpGet": dict(_PROBE), "periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 150},
        "readinessProbe": {"httpGet": dict(_PROBE), "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {
            "httpGet": {**_PROBE, "path": "/v2/health/live"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        # Requests are still sent here for a moment after the pod is to end.
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - of a container
    }


def _pod_security() -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "runAsGroup": _USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _volumes() -> list[dict[str, Any]]:
    return [{"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}}]


def _labels(subject: Subject) -> dict[str, str]:
    """https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/"""
    return {
        "app.kubernetes.io/component": "model",
        "app.kubernetes.io/managed-by": "mlwright",
        "app.kubernetes.io/name": _name(subject),
        "app.kubernetes.io/version": str(subject.version),
    }


def _annotations(subject: Subject) -> dict[str, str]:
    found = {
        "mlwright.dev/digest": subject.digest,
        "mlwright.dev/model": subject.model,
        "mlwright.dev/run-id": subject.run_id,
        "mlwright.dev/version": str(subject.version),
    }
    return {name: value for name, value in found.items() if value}


def _name(subject: Subject) -> str:
    """A name of at most 63 letters, digits and hyphens, which begins with a letter (RFC 1035)."""
    name = re.sub(r"[^a-z0-9]+", "-", subject.endpoint.lower()).strip("-")
    name = name if name[:1].isalpha() else f"model-{name}".rstrip("-")
    return name[:63].rstrip("-")


#: By kind, what makes its documents.
KINDS: Mapping[str, Callable[[Subject], Documents]] = {
    "compose": _compose,
    "k8s": _kubernetes,
    "kserve": _kserve,
}
