"""Behind a reverse proxy that ends TLS: log-in by the form of the page, an MLflow client, and strangers."""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.kernel.identity import LOCAL
from mlwright.kernel.transaction import Tx
from mlwright.security import service
from mlwright.security.secrets import hash_password
from mlwright.security.spec import PrincipalKind
from tests.components import mlflow_environment, mlflow_python
from tests.e2e.harness import API, ARTIFACTS, Answer, Client, new_server, running
from tests.e2e.test_up import mlwright
from tests.e2e.tls_proxy import certificate, tls_proxy

PASSWORD = "correct horse battery"


@dataclass
class Site:
    """A server behind a proxy."""

    pem: Path
    token: str
    inside: Client
    target: int
    port: int

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.port}"

    def ask(self, method: str, path: str, body: bytes = b"", port: int = 0, **headers: str) -> Answer:
        """An answer through the proxy. (This client of HTTP follows no redirects.)"""
        context = ssl.create_default_context(cafile=str(self.pem))
        connection = http.client.HTTPSConnection("localhost", port or self.port, context=context, timeout=30)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        connection.close()
        return answer

    def log_in(self, origin: str = "") -> Answer:
        form = urlencode({"name": "ada", "password": PASSWORD, "next": "/experiments/0?page=1"})
        kind = "application/x-www-form-urlencoded"
        return self.ask("POST", "/login", form.encode(), content_type=kind, origin=origin or self.origin)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("tls")
    server = new_server(root, "--auth", "--trusted-proxy", "127.0.0.1")
    platform = Platform(Settings(data=server.data))

    def people(tx: Tx) -> str:
        service.create_principal(tx, LOCAL, "ada", PrincipalKind.USER, hash_password(PASSWORD), admin=True)
        return service.create_token(tx, LOCAL, "ada", "", None).secret

    token = platform.database.write_now(people)
    platform.close()
    pem = certificate(root)
    with running(server) as client, tls_proxy(pem, server.port) as port:
        yield Site(pem, token, client, server.port, port)


def test_a_browser_logs_in_and_out(site: Site) -> None:
    shown = site.ask("GET", "/", accept="text/html")
    assert (shown.status, shown.headers["location"]) == (303, "/login?next=/")
    answer = site.log_in()
    assert (answer.status, answer.headers["location"]) == (303, "/experiments/0?page=1")
    cookie = answer.headers["set-cookie"]
    assert re.match(r"__Host-mlwright_session=mlw_", cookie)
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert "domain" not in cookie.lower()
    session = cookie.partition(";")[0]
    assert site.ask("GET", "/v1/me", cookie=session).json["name"] == "ada"
    form = urlencode({"name": "vision"}).encode()
    evil = site.ask("POST", "/logout", form, cookie=session, origin="https://evil.example")
    assert evil.status == 403
    assert len(site.ask("GET", "/v1/tokens", cookie=session).json) == 2
    assert site.ask("POST", "/logout", form, cookie=session, origin=site.origin).status == 303
    left = site.ask("GET", "/v1/tokens", authorization=f"Bearer {site.token}").json
    assert [each["description"] for each in left] == [""], "the session has ended"


def test_pages_of_other_sites_change_nothing(site: Site) -> None:
    for origin in ("https://evil.example", "https://localhost", f"https://localhost:{site.target}", "null"):
        assert site.log_in(origin=origin).status == 403
    assert site.ask("GET", "/health", host="evil.example").status == 403


def test_over_tls_a_session_of_plain_http_does_not_count(site: Site) -> None:
    session = site.log_in().headers["set-cookie"].partition(";")[0]
    plain = session.removeprefix("__Host-")
    assert site.ask("GET", "/v1/me", cookie=plain).status == 401
    assert site.ask("POST", "/logout", cookie=plain, origin=site.origin.replace("https", "http")).status == 403
    assert site.ask("GET", "/v1/me", cookie=session).json["name"] == "ada"


def test_wrong_passwords_are_counted_for_the_client_and_told_in_mlflows_words(site: Site) -> None:
    def guess(number: int, **headers: str) -> Answer:
        pair = base64.b64encode(f"bob:guess {number}".encode()).decode()
        return site.inside.request(
            "GET", f"{API}/experiments/get?experiment_id=0", headers={"Authorization": f"Basic {pair}", **headers}
        )

    evil = {"X-Forwarded-For": "203.0.113.66"}
    answers = [guess(number, **evil) for number in range(11)]
    assert [each.status for each in answers] == [401] * 10 + [429]
    assert (answers[-1].error_code, answers[-1].headers["retry-after"]) == ("REQUEST_LIMIT_EXCEEDED", "30")
    assert guess(1, **{"X-Forwarded-For": "198.51.100.7"}).status == 401


def test_addresses_begin_as_the_public_one(site: Site) -> None:
    bearer = f"Bearer {site.token}"
    run = {"experiment_id": "0", "start_time": 1}
    made = site.ask("POST", f"{API}/runs/create", json.dumps(run).encode(), authorization=bearer)
    path = f"{ARTIFACTS.removesuffix('artifacts')}mpu/create/0/{made.json['run']['info']['run_id']}/artifacts"
    started = site.ask("POST", path, json.dumps({"path": "x.bin", "num_parts": 1}).encode(), authorization=bearer)
    assert started.json["credentials"][0]["url"].startswith(f"{site.origin}/api/")


def test_an_mlflow_client_sends_a_file_in_parts(site: Site, tmp_path: Path) -> None:
    environment = mlflow_environment(
        MLFLOW_TRACKING_URI=site.origin,
        MLFLOW_TRACKING_TOKEN=site.token,
        MLFLOW_TRACKING_SERVER_CERT_PATH=str(site.pem),
        REQUESTS_CA_BUNDLE=str(site.pem),
        MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD="true",
        MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE=str(6 << 20),
        MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE=str(5 << 20),
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="1",
    )
    script = Path(__file__).with_name("tls_client.py")
    command = [str(mlflow_python("3.17.2")), str(script)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "{'loss': 0.5} [('big.bin', 11534336)]"


def test_a_proxy_that_says_nothing_is_as_before(site: Site) -> None:
    with tls_proxy(site.pem, site.target, forward=False) as port:
        form = urlencode({"name": "ada", "password": PASSWORD}).encode()
        answer = site.ask("POST", "/login", form, port=port, origin=f"https://localhost:{port}")
    assert answer.status == 303
    assert answer.headers["set-cookie"].startswith("mlwright_session=")
    assert "Secure" not in answer.headers["set-cookie"]


def test_who_is_not_trusted_forges_nothing(tmp_path: Path) -> None:
    server = new_server(tmp_path, "--allowed-host", "ml.example.org")
    forged = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example", "X-Forwarded-For": "1.2.3.4"}
    with running(server) as client:
        run = client.new_run()
        path = f"{ARTIFACTS.removesuffix('artifacts')}mpu/create/0/{run}/artifacts"
        body: dict[str, Any] = {"path": "x.bin", "num_parts": 1}
        started = client.request("POST", path, body, forged)
        assert started.json["credentials"][0]["url"].startswith(f"http://127.0.0.1:{server.port}/")
        assert client.request("GET", "/health", headers=forged).status == 200


def test_a_proxy_needs_authentication_and_an_address(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"), "--port", "0")
    open_door = mlwright("up", "--trusted-proxy", "127.0.0.1", *data)
    assert (open_door.returncode, "authentication is off" in open_door.stderr) == (2, True)
    name = mlwright("up", "--auth", "--trusted-proxy", "nginx", *data)
    assert (name.returncode, "neither an address nor a network" in name.stderr) == (2, True)
    assert not (tmp_path / "data").exists()
