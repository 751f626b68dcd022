"""Secrets that were left in files: keys, tokens and passwords, told by their form.

What has a form of its own is found anywhere, also in the middle of binary data; where the issuer put a check sum into
it, that decides. What has none is found in texts only, beside a name such as "api_key", and if it looks random.
Findings say where and what, never the secret. Sources of the forms: the issuers' own documentation, such as
https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mlwright.security.scanning.rules import finding
from mlwright.security.scanning.spec import Finding
from mlwright.security.scanning.streams import Source

#: Longer than any form; a secret that lies across two pieces is seen whole in the second.
_OVERLAP = 4096
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: Bits of a character's worth: random letters and digits have more than 4, words and names less.
_RANDOM_BITS = 3.6
_WORD = b"-_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: Every secret has so many of these characters in a row.
_RUN = b"x" * 20
_RUNS = bytes(ord("x") if byte in _WORD + b"+/=." else 0 for byte in range(256))
_PLACEHOLDER = re.compile(rb"(?i)example|placeholder|changeme|your[-_ ]?|dummy|redacted|xxxx|\*\*\*|<|\{|\$|%|\.\.\.")
_PLAIN_PASSWORDS = frozenset(
    (b"password", b"passwd", b"pass", b"secret", b"user", b"pwd", b"postgres", b"root", b"test", b"guest", b"admin")
)


class _Form(NamedTuple):
    """How a kind of secret looks.

    Attributes:
        pattern: the secret is its group "secret", or all of it. It begins with letters, which are found fast.
        shown: bytes from its start that every such secret has.
        is_one: decides what the pattern cannot.
        in_texts: whether it is looked for in texts only.
    """

    rule: str
    what: str
    pattern: re.Pattern[bytes]
    shown: int = 0
    is_one: Callable[[re.Match[bytes]], bool] = lambda found: True
    in_texts: bool = False


def _secret(found: re.Match[bytes]) -> bytes:
    return found["secret"] if "secret" in found.re.groupindex else found[0]


def _has_check_sum(found: re.Match[bytes]) -> bool:
    """GitHub's and npm's tokens end in the CRC-32 of what is between prefix and it, in base 62."""
    body = _secret(found).rpartition(b"_")[2]
    number, digits = zlib.crc32(body[:-6]), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits.encode() == body[-6:]


def _is_no_example(found: re.Match[bytes]) -> bool:
    return not _PLACEHOLDER.search(_secret(found)) and len(set(_secret(found)[4:])) > 4


def _is_random(found: re.Match[bytes]) -> bool:
    """Whether it looks as if a machine had made it: letters and digits, none of them often."""
    secret = _secret(found)
    mixed = re.search(rb"[0-9]", secret) and re.search(rb"[A-Za-z]", secret)
    return bool(mixed) and _is_no_example(found) and _bits(secret) >= _RANDOM_BITS


def _bits(secret: bytes) -> float:
    """Shannon's entropy in bits per character."""
    return -sum(count / len(secret) * math.log2(count / len(secret)) for count in Counter(secret).values())


def _is_password(found: re.Match[bytes]) -> bool:
    secret = _secret(found)
    return secret.lower() not in _PLAIN_PASSWORDS | {found["user"].lower()} and not _PLACEHOLDER.search(found[0])


def _form(
    rule: str, what: str, pattern: str, shown: int, is_one: Callable[[re.Match[bytes]], bool] = _is_no_example
) -> _Form:
    """A form that stands alone: it is not a part of something longer."""

    def stands_alone(found: re.Match[bytes]) -> bool:
        return found.start() == 0 or found.string[found.start() - 1] not in _WORD

    compiled = re.compile(pattern.encode() + rb"(?![A-Za-z0-9_-])")
    return _Form(rule, what, compiled, shown, lambda found: stands_alone(found) and is_one(found))


_NAMES = """api_key apikey apiKey ApiKey API_KEY APIKEY secret Secret SECRET secret_key SECRET_KEY secretKey token Token
    TOKEN password Password PASSWORD passwd PASSWD credential""".split()
_AWS_NAMES = "aws_secret_access_key AWS_SECRET_ACCESS_KEY aws_secret_key AWS_SECRET_KEY secretAccessKey SecretAccessKey"
_FORMS: tuple[_Form, ...] = (
    _Form("secret-private-key", "a private key", re.compile(
        rb"-----BEGIN (?:[A-Z]{1,20} )?PRIVATE KEY(?: BLOCK)?-----(?:\\[rn]|\s){1,8}"
        rb"(?:[A-Za-z-]{1,30}: [^\r\n\\]{0,80}(?:\\[rn]|[\r\n]){1,8}){0,4}(?P<secret>[A-Za-z0-9+/=]{40})")),
    _form("secret-cloud-key", "an AWS access key", "AKIA[A-Z2-7]{16}", 4),
    _form("secret-cloud-key", "an AWS access key", "ASIA[A-Z2-7]{16}", 4),
    _form("secret-cloud-key", "a Google API key", "AIza[0-9A-Za-z_-]{35}", 4),
    _Form("secret-cloud-key", "an Azure storage key",
          re.compile(rb"AccountKey=(?P<secret>[A-Za-z0-9+/]{86}==)"), 0, _is_no_example),
    *(
        _Form("secret-cloud-key", "an AWS secret key", re.compile(
            name.encode() + rb"[\"']?\s{0,8}[:=]\s{0,8}[\"']?(?P<secret>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])"),
            0, _is_random, in_texts=True)
        for name in _AWS_NAMES.split()
    ),
    _form("secret-token", "a GitHub token", "gh[pousr]_[A-Za-z0-9]{36}", 4, _has_check_sum),
    _form("secret-token", "a GitHub token", "github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}", 11),
    _form("secret-token", "a GitLab token", "glpat-[0-9A-Za-z_-]{20,}", 6),
    _form("secret-token", "a Slack token", "xox[abprs]-[0-9]{10,}-[0-9A-Za-z-]{20,}", 5),
    _form("secret-token", "a Hugging Face token", "hf_[A-Za-z]{34}", 3),
    _form("secret-token", "an OpenAI key", "sk-[A-Za-z0-9_-]{20,90}T3BlbkFJ[A-Za-z0-9_-]{20,90}", 3),
    _form("secret-token", "an Anthropic key", "sk-ant-[a-z]{3,5}[0-9]{2}-[A-Za-z0-9_-]{80,120}", 7),
    _form("secret-token", "a Stripe key", "sk_live_[0-9A-Za-z]{24,}", 8),
    _form("secret-token", "a Stripe key", "rk_live_[0-9A-Za-z]{24,}", 8),
    _form("secret-token", "a PyPI token", "pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}", 5),
    _form("secret-token", "an npm token", "npm_[A-Za-z0-9]{36}", 4, _has_check_sum),
    _form("secret-token", "a SendGrid key", r"SG\.[\w-]{22}\.[\w-]{43}", 3),
    _form("secret-token", "a DigitalOcean token", "dop_v1_[a-f0-9]{64}", 7),
    _form("secret-token", "a Databricks token", "dapi[a-f0-9]{32}", 4),
    _form("secret-token", "a token of mlwright", "mlw_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", 4),
    _Form("secret-password", "an address with a password", re.compile(
        rb"://(?P<user>[^\s:/@\"'<>\\]{1,64}):(?P<secret>[^\s:/@\"'<>\\]{3,128})"
        rb"@[A-Za-z0-9.\[\]-]{1,253}(?=[:/?\s\"']|$)"), 0, _is_password, in_texts=True),
    *(
        _Form("secret-password", "a value that looks like a key", re.compile(
            name.encode() + rb"s?[\"']?\s{0,8}[:=]\s{0,8}[\"'](?P<secret>[^\s\"'\\]{16,128})[\"']"),
            0, _is_random, in_texts=True)
        for name in _NAMES
    ),
)  # fmt: skip


def leaks(source: Source, member: str, kind: str) -> Iterator[Finding]:
    """The secrets in one part, each once. Raises OverBudgetError.

    Args:
        source: its bytes, of any length.
        member: its path inside the file.
        kind: what its content is.
    """
    text = kind in {"text", "json"}
    seen: set[tuple[str, bytes]] = set()
    with source.open() as stream:
        before, offset = b"", 0
        for piece in stream.chunks():
            window = before + piece
            last = stream.at_end()
            for form, found in _matches(window, text):
                name = (form.what, _secret(found))
                cut = found.end() == len(window) and not last  # seen whole in the next window
                if name not in seen and not cut:
                    seen.add(name)
                    message = f"{form.what} lies in it: {_redacted(_secret(found), form.shown)}"
                    yield finding(form.rule, message, member=member, offset=offset + found.start())
            before = window[-_OVERLAP:]
            offset += len(window) - len(before)


def _matches(window: bytes, text: bool) -> Iterator[tuple[_Form, re.Match[bytes]]]:
    if not text and _RUN not in window.translate(_RUNS):  # numbers, most of the time
        return
    for form in _FORMS:
        if text or not form.in_texts:
            for found in form.pattern.finditer(window):
                if form.is_one(found):
                    yield form, found


def _redacted(secret: bytes, shown: int) -> str:
    """What may be known of it: the beginning that all of its kind have, and its length."""
    return f"{secret[:shown].decode('ascii', 'replace')}… ({len(secret)} characters)"
