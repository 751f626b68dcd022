"""What reverse proxies say, and who is believed."""

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mlwright.app import proxy
from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import Face, Route, Router, problem
from tests.unit.asgi import Answer, call


async def what(request: Request) -> Response:
    host = request.headers.get("host", "")
    return JSONResponse({"url": str(request.url), "host": host, "client": proxy.client_of(request.scope)})


ROUTER = Router([Face([Route("GET", "/x", what)], problem)], Face([], problem))
PUBLIC = {"x_forwarded_for": "198.51.100.7", "x_forwarded_proto": "https", "x_forwarded_host": "ml.example.org"}


def ask(*trusted: str, host: str = "127.0.0.1:5000", **headers: str) -> Answer:
    """The answer to a request from 127.0.0.1."""
    sent = {"host": host} | {name.replace("_", "-"): value for name, value in headers.items()}
    return call(proxy.behind(ROUTER, trusted), "GET", "/x", headers=sent)


def seen(*trusted: str, **headers: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(*trusted, **headers).json
    return found


@pytest.mark.parametrize("trusted", [(), ("10.0.0.1",), ("127.0.0.2", "::1"), ("128.0.0.0/1",)])
def test_strangers_are_not_believed(trusted: tuple[str, ...]) -> None:
    assert seen(*trusted, **PUBLIC) == {
        "url": "http://127.0.0.1:5000/x", "host": "127.0.0.1:5000", "client": "127.0.0.1"
    }  # fmt: skip


@pytest.mark.parametrize("trusted", [("127.0.0.1",), ("10.0.0.1", "127.0.0.0/8"), ("0.0.0.0/0",)])
def test_a_trusted_proxy_says_who_calls_and_how(trusted: tuple[str, ...]) -> None:
    found = seen(*trusted, **PUBLIC)
    assert found == {"url": "https://ml.example.org/x", "host": "ml.example.org", "client": "198.51.100.7"}


def test_nothing_is_there_to_do_without_proxies() -> None:
    assert proxy.behind(ROUTER, ()) is ROUTER


def test_what_the_proxy_leaves_out_stays_as_it_is() -> None:
    assert seen("127.0.0.1")["url"] == "http://127.0.0.1:5000/x"
    assert seen("127.0.0.1", host="ml.example.org", x_forwarded_proto="https")["url"] == "https://ml.example.org/x"
    assert seen("127.0.0.1", x_forwarded_for="198.51.100.7")["client"] == "198.51.100.7"


@pytest.mark.parametrize(
    ("scheme", "host", "url"),
    [
        ("https", "ml.example.org:443", "https://ml.example.org/x"),
        ("https", "ml.example.org:80", "https://ml.example.org:80/x"),
        ("http", "ml.example.org:80", "http://ml.example.org/x"),
        ("HTTPS", "[2001:db8::1]:443", "https://[2001:db8::1]/x"),
        ("https", "ml.example.org:8443", "https://ml.example.org:8443/x"),
    ],
)
def test_the_usual_port_is_left_out_as_browsers_do(scheme: str, host: str, url: str) -> None:
    assert seen("127.0.0.1", x_forwarded_proto=scheme, x_forwarded_host=host)["url"] == url
    assert seen("127.0.0.1", x_forwarded_proto=scheme, host=host)["url"] == url


def test_what_the_client_forged_is_left_of_what_the_proxy_appended() -> None:
    forged = {
        "x_forwarded_for": "127.0.0.1, 8.8.8.8, 198.51.100.7",
        "x_forwarded_proto": "https, http",
        "x_forwarded_host": "evil.example, ml.example.org",
    }
    found = seen("127.0.0.1", **forged)
    assert found == {"url": "http://ml.example.org/x", "host": "ml.example.org", "client": "198.51.100.7"}


def test_in_a_chain_the_outermost_proxy_that_we_trust_counts() -> None:
    chain = {"x_forwarded_for": "9.9.9.9, 198.51.100.7, 10.0.0.2", "x_forwarded_proto": "http, https, http"}
    found = seen("127.0.0.1", "10.0.0.0/8", x_forwarded_host="evil.example, ml.example.org, inner", **chain)
    assert found == {"url": "https://ml.example.org/x", "host": "ml.example.org", "client": "198.51.100.7"}
    replaced = seen("127.0.0.1", "10.0.0.0/8", **{**PUBLIC, "x_forwarded_for": "198.51.100.7, 10.0.0.2"})
    assert replaced["url"] == "https://ml.example.org/x"
    assert seen("127.0.0.1", "10.0.0.0/8", x_forwarded_for="10.0.0.3, 10.0.0.2")["client"] == "10.0.0.3"


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("198.51.100.7:4711", "198.51.100.7"), ("[2001:db8::1]:4711", "2001:db8::1"), ("2001:db8::1", "2001:db8::1"),
        ("::ffff:198.51.100.7", "198.51.100.7"), ("unknown", "127.0.0.1"), ("_hidden", "127.0.0.1"),
        ("", "127.0.0.1"), (",,", "127.0.0.1"), ("198.51.100.7,", "198.51.100.7"), ("é", "127.0.0.1"),
        ("198.51.100.7, 127.0.0.1:80", "198.51.100.7"), ("[::1", "::1"), ("1.2.3.4.5", "127.0.0.1"),
    ],
)  # fmt: skip
def test_addresses_come_in_many_forms(text: str, client: str) -> None:
    assert seen("127.0.0.1", x_forwarded_for=text)["client"] == client


@pytest.mark.parametrize(
    "headers",
    [
        {"x_forwarded_proto": "ftp"}, {"x_forwarded_proto": "https x"}, {"x_forwarded_host": "ml.example.org/evil"},
        {"x_forwarded_host": "user@ml.example.org"}, {"x_forwarded_host": 'a"b'}, {"x_forwarded_host": "[::1"},
        {"x_forwarded_host": "ml.example.org:99999999"}, {"x_forwarded_host": "é"},
    ],
)  # fmt: skip
def test_nonsense_is_refused(headers: dict[str, str]) -> None:
    answer = ask("127.0.0.1", **headers)
    assert (answer.status, answer.json["code"]) == (400, "invalid")
    assert ask(**headers).status == 200, "from a stranger nobody reads it"


def test_a_proxy_may_call_over_ipv4_within_ipv6() -> None:
    trusted = proxy.networks(["10.0.0.0/8"])
    front = proxy.Forwarded(ROUTER, trusted)
    assert front._trusts(proxy._address("::ffff:10.1.2.3"))
    assert not front._trusts(proxy._address("::ffff:11.1.2.3"))
    assert not front._trusts(None)


@pytest.mark.parametrize("text", ["", "nginx", "10.0.0.1/8", "10.0.0.0/33", "300.1.1.1", "*"])
def test_proxies_are_named_by_address_or_network(text: str) -> None:
    with pytest.raises(Invalid, match="neither an address nor a network") as caught:
        proxy.networks([text])
    assert caught.value.path == "--trusted-proxy"


def test_two_lines_of_a_header_are_one_list() -> None:
    scope = {"headers": [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"2.2.2.2, 3.3.3.3")]}
    assert proxy._values(scope, b"x-forwarded-for") == ["1.1.1.1", "2.2.2.2", "3.3.3.3"]


def test_a_doubled_host_stays_doubled_for_the_gate_to_see_and_a_missing_one_is_filled_in() -> None:
    front = proxy.Forwarded(ROUTER, proxy.networks(["127.0.0.1"]))
    forwarded = (b"x-forwarded-host", b"ml.example.org:80")
    for sent, shown in (
        ([(b"host", b"a"), (b"host", b"b")], [b"ml.example.org"] * 2),
        ([(b"host", b"a")], [b"ml.example.org"]),
        ([], [b"ml.example.org"]),
    ):
        scope: dict[str, Any] = {"scheme": "http", "headers": [*sent, forwarded]}
        front._believe(scope)
        assert [value for name, value in scope["headers"] if name == b"host"] == shown


def test_long_lists_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    address = proxy._address

    def counted(text: str) -> Any:
        parsed.append(text)
        return address(text)

    monkeypatch.setattr(proxy, "_address", counted)
    for text in ("127.0.0.1," * 6_000, "nonsense," * 7_000, "8.8.8.8," * 8_000):
        seen("127.0.0.1", x_forwarded_for=text)
    assert len(parsed) < 100
