"""Webhooks lead to the internet only: every spelling of an inner address is refused, and what was judged is dialled."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlwright.kernel.errors import Invalid, Unavailable
from mlwright.registry.webhooks import targets
from mlwright.registry.webhooks.sending import Sender
from mlwright.registry.webhooks.spec import WebhookSettings
from tests.receiver import receiving

PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
INNER = [
    "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "100.100.100.200", "192.0.0.192", "168.63.129.16", "0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "198.18.0.1", "192.0.2.1", "::", "::1", "::7f00:1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254",
    "ff02::1", "2001:db8::1", "2001::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "100::1", "4000::1", "fec0::1", "3fff::1", "192.88.99.1",
]  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses(text: str) -> None:
    assert targets.is_public(ip_address(text))


@pytest.mark.parametrize("text", INNER)
def test_inner_addresses(text: str) -> None:
    assert not targets.is_public(ip_address(text))


@given(st.integers(0, 2**32 - 1))
def test_an_address_within_another_one_is_judged_as_itself(number: int) -> None:
    verdict = targets.is_public(IPv4Address(number))
    for wrapped in (0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80):
        assert targets.is_public(IPv6Address(wrapped)) == verdict


@given(st.integers(0, 2**128 - 1))
def test_nothing_is_public_that_the_standard_library_calls_private(number: int) -> None:
    address = IPv6Address(number)
    assert not targets.is_public(address) or not (address.is_private and address.ipv4_mapped is None)


def resolving(*answers: Sequence[str]) -> tuple[targets.Resolve, list[str]]:
    """A name server that answers differently each time, as one does that rebinds; and who asked."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        if not found:
            raise OSError("Name or service not known")
        return found

    return resolve, asked


@pytest.mark.parametrize("found", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::ffff:169.254.169.254"]])
def test_inner_hosts_are_refused_when_created_and_when_told(found: list[str]) -> None:
    resolve, _ = resolving(found)
    sender = Sender(WebhookSettings(), resolve)
    with pytest.raises(Invalid, match="non-public"):
        asyncio.run(sender.check("https://inner.example.org/"))
    with pytest.raises(Invalid, match="non-public"):
        asyncio.run(sender.send("https://inner.example.org/", b"{}", {}))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1"])
def test_every_spelling_of_this_machine_is_refused(host: str) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return [socket.inet_ntoa(socket.inet_aton(host))]  # as the C library reads it

    sender = Sender(WebhookSettings(schemes=("http",)), resolve)
    with pytest.raises(Invalid, match="non-public"):
        asyncio.run(sender.send(f"http://{host}/", b"{}", {}))
    with pytest.raises(Invalid, match="non-public"):
        asyncio.run(sender.check(f"http://{host}/"))


@pytest.mark.parametrize("host", ["[::1]", "localhost", "127.0.0.1"])
def test_this_machine_is_refused_as_the_system_resolves_it(host: str) -> None:
    with pytest.raises(Invalid, match="non-public"):
        asyncio.run(Sender(WebhookSettings(schemes=("http",))).check(f"http://{host}/"))


def test_a_name_that_leads_elsewhere_after_it_was_judged_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled: list[str] = []

    async def connect(host: str, port: int, **named: object) -> None:
        dialled.append(host)
        raise OSError("refused")

    resolve, asked = resolving(["93.184.216.34", "2606:4700::1111"], ["127.0.0.1"])
    monkeypatch.setattr(asyncio, "open_connection", connect)
    with pytest.raises(Unavailable):
        asyncio.run(Sender(WebhookSettings(), resolve).send("https://rebinds.example.org/", b"{}", {}))
    assert (asked, dialled) == (["rebinds.example.org"], ["93.184.216.34", "2606:4700::1111"])


def test_a_host_that_nobody_knows_is_refused_when_created_and_tried_again_when_told() -> None:
    resolve, _ = resolving([])
    sender = Sender(WebhookSettings(), resolve)
    with pytest.raises(Invalid, match="Cannot resolve"):
        asyncio.run(sender.check("https://nobody.example.org/"))
    with pytest.raises(Unavailable, match="Cannot resolve"):
        asyncio.run(sender.send("https://nobody.example.org/", b"{}", {}))


def test_private_addresses_can_be_allowed() -> None:
    resolve, _ = resolving(["127.0.0.1"])
    with receiving() as receiver:
        url = receiver.url.replace("127.0.0.1", "inner.example.org")
        sender = Sender(WebhookSettings(schemes=("http",), private=True), resolve)
        asyncio.run(sender.check(url))
        assert asyncio.run(sender.send(f"{url}/x", b"{}", {})).status == 200
        assert receiver.next().headers["host"] == url.removeprefix("http://")


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("https://e.org", "e.org", "/"),
        ("https://E.org:443/a?b=c#d", "e.org", "/a?b=c"),
        ("https://e.org:8443/ä/%20?q=ü", "e.org:8443", "/%C3%A4/%20?q=%C3%BC"),
        ("https://bücher.example/", "xn--bcher-kva.example", "/"),
        ("https://[2606:4700::1111]:444/", "[2606:4700::1111]:444", "/"),
    ],
)
def test_parts_of_a_url(url: str, authority: str, path: str) -> None:
    found = targets.parse(url, ("https",))
    assert (found.authority, found.path, found.credentials) == (authority, path, "")


def test_credentials_in_a_url_become_a_header() -> None:
    assert targets.parse("https://me:p%40ss@e.org/", ("https",)).credentials == "Basic bWU6cEBzcw=="


@pytest.mark.parametrize(
    "url", ["", " ", "e.org", "http://e.org", "file:///etc/passwd", "https://", "https://e.org:x/", "https://e.org:70000/",
            "https://e.org/a b", "https://e.org/\r\nX-Evil: 1", "https://e.org/" + "x" * 2_000, "https://[::1"],
)  # fmt: skip
def test_what_is_no_url_for_webhooks(url: str) -> None:
    with pytest.raises(Invalid):
        targets.parse(url, ("https",))


@given(st.text(max_size=60))
def test_no_url_smuggles_anything_into_the_request(text: str) -> None:
    try:
        found = targets.parse(f"https://e.org/{text}", ("https",))
    except Invalid:
        return
    assert all(33 <= ord(character) < 127 for character in found.path + found.authority)
