"""Where packages come from: what uv and pip were told, in the words of uv, which does not read pip's settings.

https://pip.pypa.io/en/stable/topics/configuration/ and https://docs.astral.sh/uv/reference/environment/
"""

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

#: What uv and the programs that it starts may see besides.
_PASSED_ON = {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "NETRC"}
_NETWORK = {"SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_CLIENT_CERT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
#: These would lead uv to another environment than the one it is told.
_NOT_OURS = {"UV_PYTHON", "UV_SYSTEM_PYTHON", "UV_PROJECT", "UV_PROJECT_ENVIRONMENT", "UV_WORKING_DIRECTORY"}
_SECTIONS = ("global", "install")


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for uv: its own variables, and pip's settings where uv has none of its own.

    UV_NO_INDEX is none of its variables: who starts uv gives it the option instead.
    """
    known = _PASSED_ON | _NETWORK
    found = {name: value for name, value in environment.items() if name.upper() in known}
    found |= {name: value for name, value in environment.items() if name.startswith("UV_") and name not in _NOT_OURS}
    pip = _pip(environment)
    extra = pip.get("extra-index-url", "").split()
    translated = {
        "UV_DEFAULT_INDEX": "" if "UV_INDEX_URL" in found else pip.get("index-url", ""),
        "UV_INDEX": "" if "UV_EXTRA_INDEX_URL" in found else " ".join(extra),
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "UV_NO_INDEX": "1" if pip.get("no-index", "").lower() in {"1", "true", "yes", "on"} else "",
        "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", "").split()),
        # As pip does: the best version of all indexes, not the first index that has the name.
        "UV_INDEX_STRATEGY": "unsafe-best-match" if extra else "",
        "SSL_CERT_FILE": pip.get("cert", ""),
        "UV_SYSTEM_CERTS": "1",  # as pip does; the second is its older name
        "UV_NATIVE_TLS": "1",
    }
    return {name: value for name, value in translated.items() if value} | found


def _pip(environment: Mapping[str, str]) -> dict[str, str]:
    """pip's settings by name; later sources win: files, then variables."""
    found: dict[str, str] = {}
    for path in _pip_files(environment):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):  # pip complains to those who use it
            continue
        for section in _SECTIONS:
            found |= dict(parser[section]) if parser.has_section(section) else {}
    said = {name[4:].lower().replace("_", "-"): value for name, value in environment.items() if name[:4] == "PIP_"}
    return found | said


def _pip_files(environment: Mapping[str, str]) -> Iterator[Path]:
    own = environment.get("PIP_CONFIG_FILE")
    if own == os.devnull:
        return
    home = Path(environment.get("HOME") or "/")
    for shared in environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"):
        yield Path(shared) / "pip" / "pip.conf"
    yield Path("/etc/pip.conf")
    yield home / ".pip" / "pip.conf"
    yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    yield Path(sys.prefix) / "pip.conf"
    if own:
        yield Path(own)
