"""The ground of an image, made from packages of Debian: a Python, what it needs, and no shell.

Packages come through apt, which verifies what it downloads, from where this machine gets its own. What is no use to a
server is left out. Scanners find what there is in /var/lib/dpkg/status.d, as in Google's distroless images.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mlwright.kernel.errors import Unavailable
from mlwright.serving.images.bytecode import Compiler, compiler
from mlwright.serving.images.layers import Entry, Layer, Layers, tree
from mlwright.serving.images.notes import Made, Package, noted

#: Raised when the same packages are to become another ground.
_RECIPE = "4"
_SECONDS = 600.0
_HINT = (
    "give another ground with Python {minor}: --base DIR, TAR or oci:DIR, such as oci:python after"
    " `skopeo copy docker://python:{minor}-slim oci:python`"
)
_ROOTS = ("ca-certificates", "libgomp1", "libstdc++6", "netbase", "tzdata")
#: What packages need to be installed and set up, or for what no server does: terminals, NIS, Berkeley DB.
_NOT_NEEDED = re.compile(
    r"debconf.*|dpkg|install-info|lib(db5|gdbm|gssapi|ncurses|nsl|perl|python3-stdlib|readline|tinfo|tirpc).*"
    r"|mailcap|media-types|mime-support|openssl|perl.*|readline-common|tar|sysv-rc|.*-common"
)
_STDLIB = r"usr/lib/python3[^/]*"
_LEFT_OUT = re.compile(
    r"(etc/(?!ssl|protocols|services|rpc|ethertypes|networks).*"
    r"|usr/(bin/(?!python3)|sbin|share/(?!ca-certificates|zoneinfo)|lib/[^/]+/(gconv|audit)|lib/(valgrind|systemd)).*"
    r"|usr/share/zoneinfo/(right|posix)(/.*)?|usr/bin/.*(pdb|pydoc|pygettext|config).*"
    rf"|{_STDLIB}/(test|idlelib|lib2to3|turtledemo|ensurepip|distutils|pydoc_data|tkinter|config-[^/]*|__pycache__)(/.*)?"
    rf"|{_STDLIB}/lib-dynload/(nis|readline|_curses\w*|_dbm|_tkinter)\..*|var/.*)\Z"
)
_CERTIFICATES = "usr/share/ca-certificates/"
#: Where OpenSSL looks; otherwise a part of its program's package.
_OPENSSL = {
    "cert.pem": "certs/ca-certificates.crt",
    "certs": "certs",
    "openssl.cnf": "openssl.cnf",
    "private": "private",
}
_USERS = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n"
_GROUP = "root:x:0:\nnonroot:x:65532:\n"
_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"


class Base(NamedTuple):
    """The ground of an image.

    Attributes:
        layers: in their order.
        python: path of the interpreter.
        packages: what it is made of, as far as that is known.
        described: in a few words.
    """

    layers: list[Layer]
    python: str
    packages: Sequence[Package] = ()
    described: str = ""


class Debian:
    """Args:
    layers: where it is kept.
    notes: the folder where it is noted what it was made of.
    say: told what takes long.
    """

    def __init__(self, layers: Layers, notes: Path, say: Callable[[str], None]) -> None:
        self._layers = layers
        self._notes = notes
        self._say = say

    def base(self, minor: str, architecture: str, *, pull: bool = False) -> Base:
        """The ground with a Python such as "3.11"; the one made before, unless the newest packages are wanted.

        Raises Unavailable with what to do.
        """
        key = f"debian {_RECIPE} {minor} {architecture}"
        made = noted(self._notes, key, self._layers, lambda: self._made(minor), anew=pull)
        return Base([made.layer], f"/usr/bin/python{minor}", made.packages, made.described)

    def _made(self, minor: str) -> Made:
        hint = _HINT.format(minor=minor)
        for program in ("apt-get", "apt-cache", "dpkg-deb"):
            if shutil.which(program) is None:
                raise Unavailable(f"{program} is not here, so no ground can be made from Debian's packages", hint=hint)
        if not _run(["apt-cache", "pkgnames", f"python{minor}-minimal"], hint).split():
            raise Unavailable(
                f"this machine's apt knows no Python {minor}, of which the model's packages are", hint=hint
            )
        self._say("making the ground from Debian's packages")
        names = _closure([*_ROOTS, f"python{minor}-minimal", f"libpython{minor}-stdlib"], hint)
        uris = _run(["apt-get", "download", "--print-uris", *names], hint)
        wanted = re.findall(r"^'[^']*' (\S+) \d+ (\S+)", uris, re.M)
        with tempfile.TemporaryDirectory(prefix="mlwright-base-") as folder:
            work, root = Path(folder), Path(folder, "root")
            work.chmod(0o755)  # apt downloads as a user of its own
            _run(["apt-get", "download", "-qq", *names], hint, work)
            packages, status = [], []
            for file in sorted(work.glob("*.deb")):
                _run(["dpkg-deb", "-x", str(file), str(root)], hint)
                control = _run(["dpkg-deb", "-f", str(file)], hint)
                packages.append(_package(control))
                status.append(Entry(f"var/lib/dpkg/status.d/{packages[-1].name}", control.encode()))
            with compiler(root / f"usr/bin/python{minor}", minor) as compile_:
                key = f"debian {_RECIPE} {minor} {sorted(wanted)}"
                layer = self._layers.layer(key, lambda: [*self._entries(root, minor, compile_), *status])
        release = " ".join(Path("/etc/os-release").read_text(encoding="utf-8").split('"')[1:2])
        return Made(layer, packages, minor, release)

    def _entries(self, root: Path, minor: str, compile_: Compiler) -> list[Entry]:
        """The files of the packages, as they lie in a system whose /bin, /lib and /sbin lead into /usr."""
        found = [each._replace(path=_merged(each.path)) for each in tree(root, "")]
        kept = [each for each in found if not _LEFT_OUT.match(each.path)]
        authorities = sorted((e for e in kept if e.path.startswith(_CERTIFICATES)), key=lambda each: each.path)
        kept = [each for each in kept if not each.path.startswith(_CERTIFICATES)]
        bundle = b"".join(each.source.read_bytes() for each in authorities if isinstance(each.source, Path))
        own = {
            "etc/group": _GROUP.encode(),
            "etc/nsswitch.conf": _NSSWITCH.encode(),
            "etc/os-release": Path("/etc/os-release").read_bytes(),
            "etc/passwd": _USERS.encode(),
            "etc/ssl/certs/ca-certificates.crt": bundle,
        }
        links = {name: f"usr/{name}" for name in ("bin", "lib", "lib64", "sbin")}
        links |= {"usr/bin/python3": f"python{minor}"}
        links |= {f"usr/lib/ssl/{name}": f"/etc/ssl/{target}" for name, target in _OPENSSL.items()}
        return [
            *kept,
            *compile_.compiled(kept),
            *(Entry(path, data) for path, data in own.items()),
            *(Entry(path, None, 0o777, target) for path, target in links.items()),
            Entry("tmp", None, 0o1777),
            Entry("usr/sbin", None, 0o755),
        ]


def _merged(path: str) -> str:
    return f"usr/{path}" if path.split("/", 1)[0] in {"bin", "lib", "lib64", "sbin"} else path


def _closure(roots: Sequence[str], hint: str) -> list[str]:
    """The packages, and what they need to run, without what they need to be installed."""
    known: set[str] = set()
    new = set(roots)
    while new:
        known |= new
        options = ["--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces"]
        said = _run(["apt-cache", "depends", *options, "--no-enhances", *sorted(new)], hint)
        found = set(re.findall(r"^ +(?:Pre)?Depends: ([a-z0-9][a-z0-9.+-]*)", said, re.M))
        new = {name for name in found if not _NOT_NEEDED.fullmatch(name)} - known
    return sorted(known)


def _package(control: str) -> Package:
    fields = dict(_fields(control))
    return Package("deb", fields["Package"], fields["Version"], fields["Architecture"], space="debian")


def _fields(control: str) -> Iterator[tuple[str, str]]:
    for line in control.splitlines():
        name, colon, value = line.partition(": ")
        if colon and not line[0].isspace():
            yield name, value


def _run(command: list[str], hint: str, folder: Path = Path("/")) -> str:
    """What a program prints. Raises Unavailable with what it says when it fails."""
    variables = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=variables, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{' '.join(command[:2])} took longer than {_SECONDS:g} s", hint=hint) from error
    if done.returncode:
        said = " ".join(done.stderr.split())[-500:]
        raise Unavailable(f"{' '.join(command[:2])} failed: {said}", hint=f"apt-get update, or {hint}")
    return done.stdout
