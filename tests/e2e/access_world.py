"""A platform with a project full of secrets, and one request to each of its routes that aims at them.

Everything secret that can be written down contains SESAME, so that an answer that gives any of it away is recognised.
"""

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

import msgspec
from starlette.types import ASGIApp

from mlwright.app.guard import Guard
from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.artifacts import service as artifacts
from mlwright.kernel import store
from mlwright.kernel.blobs import blob_of
from mlwright.kernel.http import Face, Route, Router
from mlwright.kernel.identity import LOCAL
from mlwright.kernel.resources import API_VERSION, Manifest, Metadata
from mlwright.kernel.transaction import Tx
from mlwright.registry.service import aliases, gates, registration, signatures, trust, versions
from mlwright.registry.service import models as registered
from mlwright.registry.service.registration import Description
from mlwright.registry.spec import NewVersion
from mlwright.registry.webhooks import outbox
from mlwright.registry.webhooks import service as webhooks
from mlwright.registry.webhooks.outbox import Outcome
from mlwright.registry.webhooks.spec import EVENTS, DeliveryState, NewWebhook
from mlwright.security import projects
from mlwright.security import service as security
from mlwright.security.secrets import hash_password
from mlwright.security.signing import bundle, keys
from mlwright.security.spec import PrincipalKind
from mlwright.serving.service import deploying, endpoints, rollouts
from mlwright.serving.service import keys as endpoint_keys
from mlwright.serving.service import rows as serving_rows
from mlwright.serving.spec import Rollout
from mlwright.tracking.service import experiments, inputs, models, notes, runs
from mlwright.tracking.service.owners import TrackingOwners
from mlwright.tracking.spec import Dataset, DatasetInput, Metric, Param, Tag

SESAME = "sesame"
PROJECT = "vault"
#: A project that the stranger administers.
ELSEWHERE = "elsewhere"
#: An endpoint in the secret project.
ENDPOINT = f"{SESAME}-endpoint"
PASSWORD = "correct horse battery"
KEY = keys.generate()
PEOPLE = ("outsider", "stranger", "viewer", "editor", "root")


@dataclass(frozen=True)
class Things:
    """Names of what lies in the secret project."""

    experiment: int
    gone_experiment: int
    run: str
    gone_run: str
    model: str
    comment: int
    upload: str
    token: str
    registered: str
    bundle: str
    file: str
    part: str
    webhook: str = ""
    delivery: str = ""


class World:
    """The platform, behind its gate with authentication, and a token for each of PEOPLE."""

    def __init__(self, folder: Path) -> None:
        with patch.dict(os.environ, {"MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true"}):  # tests reach this machine only
            self.platform = Platform(Settings(data=folder, authentication=True))
        self.database = self.platform.database
        self._folder = folder
        self.tokens: dict[str, str] = {}
        self.database.write_now(self._people)
        webhook = self.database.write_now(self._webhook)
        things = self.database.write_now(self._secrets)
        self.things = replace(things, webhook=webhook, delivery=self.database.write_now(self._told))
        self.database.write_now(self._serve)
        self.app: ASGIApp = Guard(
            self.platform.router(),
            self.platform.settings,
            self.platform.authentication("the secret of the owner of the directory"),
        )

    def state(self) -> list[str]:
        """All that is stored: every row and the name of every file of the blob store."""
        with sqlite3.connect(self._folder / "mlwright.db") as connection:
            rows = list(connection.iterdump())
        connection.close()
        return rows + sorted(str(path) for path in (self._folder / "blobs").rglob("*") if path.is_file())

    def close(self) -> None:
        self.platform.close()

    def _people(self, tx: Tx) -> None:
        for name in (PROJECT, ELSEWHERE):
            projects.create(tx, LOCAL, self.platform.project, name, f"{name} {SESAME if name == PROJECT else ''}")
        password = hash_password(PASSWORD)
        for name in PEOPLE:
            security.create_principal(tx, LOCAL, name, PrincipalKind.USER, password, admin=name == "root")
            self.tokens[name] = security.create_token(tx, LOCAL, name, f"of {name}", None).secret
        for name in ("viewer", "editor"):
            security.grant(tx, LOCAL, PROJECT, name, name)
        security.grant(tx, LOCAL, ELSEWHERE, "stranger", "admin")

    def _secrets(self, tx: Tx) -> Things:
        number = experiments.create(tx, LOCAL, f"{SESAME}-experiment", tags=[Tag("t", SESAME)], project=PROJECT)
        gone = experiments.create(tx, LOCAL, f"{SESAME}-gone", project=PROJECT)
        experiments.delete_experiment(tx, LOCAL, gone)
        run = runs.create(tx, LOCAL, number, f"{SESAME}-user", 1_000, f"{SESAME}-run").info.run_id
        points = [
            Metric(f"{SESAME}/loss", 1 / (step + 1), 1_000 + step, step) for step in range(40)
        ]  # so many do not wait
        tags = [Tag("t", SESAME), Tag("mlflow.note.content", SESAME)]
        runs.log_batch(tx, LOCAL, run, points, [Param("p", SESAME)], tags)
        dataset = DatasetInput(Dataset(f"{SESAME}-data", "d1", "local", "{}"), [Tag(inputs.CONTEXT_TAG, "training")])
        inputs.log_inputs(tx, LOCAL, run, [dataset])
        model = models.create(tx, LOCAL, number, f"{SESAME}-net", "", run, [Param("p", SESAME)], [Tag("t", SESAME)])
        comment = notes.add_comment(tx, LOCAL, run, SESAME)
        notes.save_view(tx, LOCAL, number, "best", {"filter": f"params.p = '{SESAME}'"})
        deleted = runs.create(tx, LOCAL, number, name=f"{SESAME}-deleted").info.run_id
        runs.delete_run(tx, LOCAL, deleted)
        writer = self.platform.blobs.writer()
        writer.write(SESAME.encode())
        blob = writer.commit()
        folder, owners = f"{number}/{run}/artifacts", TrackingOwners()
        file = f"{folder}/{SESAME}.txt"
        artifacts.put(tx, LOCAL, owners, file, blob)
        artifacts.put(tx, LOCAL, owners, f"{number}/models/{model.model_id}/artifacts/{SESAME}.txt", blob)
        upload = artifacts.start_upload(tx, LOCAL, owners, f"{folder}/big.bin")
        artifacts.put_part(tx, upload, 1, blob)
        token = security.create_token(tx, LOCAL, "editor", SESAME, None).id
        registered = self._register(tx, folder, run)
        part = f"{folder}/big.bin"
        return Things(
            number, gone, run, deleted, model.model_id, comment.id, upload, token, registered, self.bundle, file, part
        )

    def _webhook(self, tx: Tx) -> str:
        owner = msgspec.structs.replace(LOCAL, project=PROJECT)
        new = NewWebhook(SESAME, f"https://127.0.0.1:1/{SESAME}", [EVENTS["registered_model.created"]])
        return webhooks.create(tx, owner, new, "sealed").webhook_id

    def _told(self, tx: Tx) -> str:
        """Something that the webhook could not be told. Returns its id."""
        (work,) = outbox.take(tx, "token", 1, 1_000).works
        outbox.finish(tx, work, Outcome(DeliveryState.FAILED, 500, SESAME))
        return work.delivery_id

    def _register(self, tx: Tx, folder: str, run: str) -> str:
        """A registered model with a version, whose only file is SESAME.txt."""
        owner, name = msgspec.structs.replace(LOCAL, project=PROJECT), f"{SESAME}-registered"
        registered.create(tx, owner, name, SESAME, {"t": SESAME})
        new = NewVersion(name, f"mlflow-artifacts:/{folder}", run, description=SESAME, tags={"t": SESAME})
        registration.create(tx, owner, new, Description())
        aliases.move(tx, owner, name, "champion", 1)
        asked = [{"name": "lead", "approval": {}}, {"name": "check", "command": {"command": ["true"]}}]
        manifest = Manifest(API_VERSION, gates.KIND.name, Metadata(f"{SESAME}-policy", PROJECT), {"gates": asked})
        store.apply(tx, LOCAL, gates.KIND, manifest)
        self._sign(tx, name)
        return name

    def _sign(self, tx: Tx, name: str) -> None:
        """Somebody with a key called SESAME-key signs the version."""
        spec = {"publicKey": keys.public_pem(KEY.public_key()).decode()}
        store.apply(
            tx, LOCAL, trust.KIND, Manifest(API_VERSION, "SigningKey", Metadata(f"{SESAME}-key", PROJECT), spec)
        )
        version = versions.get(tx, LOCAL, name, 1, PROJECT)
        self.bundle = bundle.sign(trust.contents(name, trust.files(tx, version)), KEY).decode()
        signatures.add(tx, LOCAL, name, 1, self.bundle.encode(), PROJECT)

    def _serve(self, tx: Tx) -> None:
        """An endpoint with a key; a rollout from its first revision to its second goes on."""
        model = f"{SESAME}-served"  # another one than that which requests delete
        owner = msgspec.structs.replace(LOCAL, project=PROJECT)
        folder = f"{self.things.experiment}/{self.things.run}/artifacts/served"
        artifacts.put(tx, LOCAL, TrackingOwners(), f"{folder}/model", blob_of(b"served"), b"served")
        registered.create(tx, owner, model)
        registration.create(tx, owner, NewVersion(model, f"mlflow-artifacts:/{folder}", self.things.run), Description())
        for onnx in (False, True):
            spec = {"model": f"{model}/1", "entity": SESAME, "onnx": onnx}
            store.apply(tx, LOCAL, endpoints.KIND, Manifest(API_VERSION, "Endpoint", Metadata(ENDPOINT, PROJECT), spec))
            revision = deploying.deploy(tx, LOCAL, ENDPOINT, PROJECT, SESAME)
            serving = serving_rows.by_name(tx, PROJECT, ENDPOINT)
            assert serving is not None
            rollouts.ready(tx, serving.row, revision.number, Rollout())
        spec = {"model": f"{model}/1", "entity": SESAME}  # which is not deployed yet
        store.apply(tx, LOCAL, endpoints.KIND, Manifest(API_VERSION, "Endpoint", Metadata(ENDPOINT, PROJECT), spec))
        endpoint_keys.create(tx, LOCAL, ENDPOINT, f"{SESAME}-key", PROJECT)


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        target: path with query.
        by: who may do this; SESAME is then in the answer, or something changes.
        shows, changes: which of the two.
        viewers_may: whether a viewer may change this.
        anyone: whether it means only the caller's own things, or nothing that is secret.
    """

    method: str
    target: str
    body: bytes = b""
    form: bool = False
    by: str = "editor"
    shows: bool = False
    changes: bool = False
    viewers_may: bool = False
    anyone: bool = False


def routes_of(platform: Platform) -> list[Route]:
    """Every route of the server: what its faces hand to the router."""
    found: list[Route] = []

    class Recording(Router):
        def __init__(self, faces: Sequence[Face], fallback: Face) -> None:
            super().__init__(faces, fallback)
            found.extend(route for face in faces for route in face.routes)

    with patch("mlwright.app.wiring.Router", Recording):
        platform.router()
    return found


def plain(path: str) -> str:
    """The path that aliases of a route share."""
    return path.replace("/ajax-api/", "/api/").replace("/3.0/", "/2.0/")


def get(target: str, **options: Any) -> Request:
    return Request("GET", target, shows=True, **options)


def send(method: str, target: str, body: Any = None, **options: Any) -> Request:
    encoded = b"" if body is None else msgspec.json.encode(body)
    return Request(method, target, encoded, changes=True, **options)


def form(target: str, fields: list[tuple[str, str]], **options: Any) -> Request:
    return Request("POST", target, urlencode(fields).encode(), form=True, changes=True, **options)


def asked(method: str, target: str, body: Any, **options: Any) -> Request:
    """A question with a body."""
    return Request(method, target, msgspec.json.encode(body), shows=True, **options)
