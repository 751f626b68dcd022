"""Secrets left in files: what is found, what only looks like one, and that no finding tells the secret."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mlwright.app.cli import cli
from mlwright.security.scanning.limits import Limits
from mlwright.security.scanning.scanner import scan_bytes
from mlwright.security.scanning.spec import FileReport
from mlwright.security.secrets import new_token
from mlwright.security.signing import keys

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY = keys.private_pem(keys.generate()).decode()
RANDOM = "k7Qz0LmX4vR9tY2bW8cN5pJ1sH6dF3gA"


def with_check_sum(prefix: str, body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return prefix + body + digits


#: Made up here, so that no scanner finds them in the repository.
SECRETS = {
    "private key": ("secret-private-key", KEY),
    "private key in JSON": ("secret-private-key", json.dumps({"private_key": KEY})),
    "encrypted key": ("secret-private-key", keys.private_pem(keys.generate(), "secret").decode()),
    "AWS": ("secret-cloud-key", "AKIA" + "Q3ZL5NB7WXKD2MTV"),
    "AWS secret": ("secret-cloud-key", f"aws_secret_access_key = {RANDOM}Zq8+/xY1"),
    "Google": ("secret-cloud-key", "AIza" + "Sy" + RANDOM + "_"),
    "Azure": ("secret-cloud-key", f"AccountName=x;AccountKey={(RANDOM * 3)[:86]}==;"),
    "GitHub": ("secret-token", with_check_sum("ghp_", RANDOM[:30])),
    "npm": ("secret-token", with_check_sum("npm_", RANDOM[:30])),
    "GitLab": ("secret-token", "glpat-" + RANDOM[:20]),
    "Hugging Face": ("secret-token", "hf_" + "QazWsxEdcRfvTgbYhnUjmIkOlPqAzWsXeDc"[:34]),
    "Slack": ("secret-token", f"xoxb-1234567890123-{RANDOM}"),
    "Stripe": ("secret-token", "sk_live_" + RANDOM[:24]),
    "our own": ("secret-token", new_token()[1]),
    "database": ("secret-password", "postgresql://app:fX9-kQ2w@db.internal:5432/models"),
    "assigned": ("secret-password", f'"api_key": "{RANDOM}"'),
}
HARMLESS = [
    "AKIAIOSFODNN7EXAMPLE",
    "AKIA" + "A" * 16,
    with_check_sum("ghp_", RANDOM[:30])[:-1] + "!",
    "ghp_" + RANDOM + "0000",
    "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
    "-----BEGIN PUBLIC KEY-----\n" + "A" * 64,
    "postgresql://user:password@localhost/db",
    "postgresql://app:${DB_PASSWORD}@db/models",
    "postgresql://{user}:{password}@{host}/db",
    "https://docs.python.org:443/3/library@stdlib",
    'token = "the quick brown fox jumps"',
    'api_key = "your-api-key-goes-here-1"',
    'tokenizer_class: "PreTrainedTokenizerFast1"',
    '"secret": "<insert your secret 123456 here>"',
    f'"digest": "{RANDOM}"',
    "hf_hub_download",
]


def scanned(content: bytes, name: str = "notes.txt", **limits: int) -> FileReport:
    return scan_bytes(content, name, Limits(secrets=True, **limits))


def rules(report: FileReport) -> list[str]:
    return [each.rule for each in report.findings]


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_found_and_never_told(name: str) -> None:
    rule, secret = SECRETS[name]
    report = scanned(f"before\n{secret}\nafter\n".encode())
    assert rules(report) == [rule]
    assert report.findings[0].offset > 0
    shown = repr(report)
    assert not any(secret[at : at + 12] in shown for at in range(len(secret) - 12))
    assert scan_bytes(f"x\n{secret}\n".encode(), "notes.txt").findings == ()  # only who asks is told


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_a_secret(text: str) -> None:
    assert rules(scanned(f"a: 1\n{text}\n".encode())) == []


def test_secrets_are_found_wherever_they_lie() -> None:
    secret = SECRETS["GitHub"][1].encode()
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner/config.json", json.dumps({"t": secret.decode()}))
    with tarfile.open(fileobj=tarred, mode="w:gz") as archive_:
        info = tarfile.TarInfo("a.zip")
        info.size = len(zipped.getvalue())
        archive_.addfile(info, io.BytesIO(zipped.getvalue()))
    (found,) = scanned(tarred.getvalue()).findings
    assert found.member == "gzip!a.zip!inner/config.json"
    assert rules(scanned(gzip.compress(secret))) == ["secret-token"]
    assert rules(scanned(pickle.dumps({"token": secret.decode()}), "model.pkl")) == ["secret-token"]
    assert rules(scanned(b"\x00\x01\xff" + secret + b"\x00" * 9)) == ["format-unknown", "secret-token"]


@given(at=st.integers(0, 600_000))
@settings(max_examples=25, deadline=None)
def test_no_place_in_a_long_text_hides_one(at: int) -> None:
    content = b" \n" * (at // 2) + SECRETS["GitLab"][1].encode() + b"\n" + b"y " * 1_000
    (found,) = scanned(content).findings
    assert found.offset == at // 2 * 2


def test_many_secrets_hide_nothing_else() -> None:
    many = "\n".join(with_check_sum("ghp_", f"{RANDOM[:26]}{number:04}") for number in range(60))
    program = pickle.dumps(many)[:-1] + b"0cos\nsystem\n(S'x'\ntR."
    found = rules(scanned(program, "model.pkl"))
    assert "pickle-global" in found
    assert 25 <= found.count("secret-token") + 1 <= 26


def test_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"token": SECRETS["our own"][1]}))
    assert CliRunner().invoke(cli, ["scan", str(path)]).exit_code == 0
    found = CliRunner().invoke(cli, ["scan", str(path), "--secrets"])
    assert (found.exit_code, "a token of mlwright" in found.stdout) == (1, True)
    log = json.loads(CliRunner().invoke(cli, ["scan", str(path), "--secrets", "-o", "sarif"]).stdout)
    assert log["runs"][0]["results"][0]["ruleId"] == "secret-token"


def test_a_hostile_text_takes_no_longer() -> None:
    begin = b"-----BEGIN PRIVATE KEY-----"
    for text in (begin + b"\\n" * 50_000, (begin + b"\\nA: \\n") * 10_000, b"a" * 300_000 + b"://", b"a://b:" * 50_000):
        assert rules(scanned(text + b"\n")) == []
