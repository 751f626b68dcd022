"""`mlwright models sign`, `verify` and `download`."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from mlwright.kernel.cli import output_option, show, with_client, with_connection
from mlwright.kernel.client import Client
from mlwright.kernel.errors import Invalid, NotFound, Unavailable, Untrusted
from mlwright.registry.cli import naming, pems
from mlwright.registry.cli.copies import Copy
from mlwright.security.signing.spec import Difference, Manifest, differences

Connect = Callable[[], Client]
_FILE = click.Path(path_type=Path)
_SHOWN = 20
_COLUMNS = ["key", "fingerprint", "state", "trusted", "reason", "signed_by", "at_ms"]
_project = click.option("--project", default="", help="Where the model is; your own project when not given.")
_public = click.option(
    "--key", "key_files", multiple=True, type=_FILE, help="Public key: only signatures by it count. May be repeated."
)


@click.command("sign")
@click.argument("target", metavar="MODEL/3|FOLDER")
@click.option("--key", "key_file", type=_FILE, help="Your private key, which stays where it is.")
@click.option(
    "--signature",
    "signature_file",
    type=_FILE,
    help="For a folder, where the signature is put [default: FOLDER.sig]. For a version, one made elsewhere.",
)
@click.option("--compare", type=_FILE, help="Sign the version only if its files are those of this folder.")
@_project
@with_connection
@output_option
def sign(
    connect: Connect,
    target: str,
    key_file: Path | None,
    signature_file: Path | None,
    compare: Path | None,
    project: str,
    output: str,
) -> None:
    """Sign a version, or a FOLDER without a server, as OpenSSF model signing does."""
    if naming.is_version(target):
        if (key_file is None) == (signature_file is None):
            raise Invalid("a version is signed with a key, or gets a signature made elsewhere", path="--key")
        show(_sign_version(connect(), target, key_file, signature_file, compare, project), output, _COLUMNS)
        return
    if key_file is None:
        raise Invalid("a folder is signed with a private key", path="--key", hint="make one: mlwright keys create NAME")
    signature = signature_file or beside(Path(target))
    signed = _sign_folder(Path(target), key_file, signature)
    shown = {"signature": str(signature), "files": len(signed.files), "name": signed.name}
    show(shown, output, ["signature"] if output == "name" else [])


def _sign_folder(folder: Path, key_file: Path, signature: Path) -> Manifest:
    from mlwright.security.signing import bundle, folders  # brings cryptography, which other commands do not need

    key, place = pems.private_key(key_file), signature.resolve()
    own = [place.relative_to(folder.resolve()).as_posix()] if place.is_relative_to(folder.resolve()) else []
    found = folders.manifest_of(folder, ignored=[*folders.GIT_PATHS, *own])
    signature.unlink(missing_ok=True)
    pems.write(signature, bundle.sign(found, key))
    return found


def _sign_version(
    client: Client, target: str, key_file: Path | None, signature_file: Path | None, compare: Path | None, project: str
) -> Any:
    from mlwright.security.signing import bundle, folders  # see above

    copy = Copy.of(client, target, project)
    if compare is not None:
        different = differences(copy.manifest, folders.manifest_of(compare, ignored=()))
        if different:
            raise Untrusted(f"{target} is not {compare}: {_in_words(different)}", path=different[0].path)
    if signature_file is not None:
        return copy.sign(pems.read(signature_file))
    assert key_file is not None
    return copy.sign(bundle.sign(copy.manifest, pems.private_key(key_file)))


@click.command("verify")
@click.argument("target", metavar="MODEL/3|FOLDER")
@_public
@click.option("--signature", "signature_file", type=_FILE, help="Of a folder [default: FOLDER.sig].")
@_project
@with_connection
@output_option
def verify(
    connect: Connect, target: str, key_files: Sequence[Path], signature_file: Path | None, project: str, output: str
) -> None:
    """Look at every byte of a version, or of a FOLDER without a server, and at who has signed it.

    Exits with 0 when it may be trusted, 1 when not, and 2 when that could not be found out.
    """
    try:
        if naming.is_version(target):
            found = _verified_version(connect(), target, key_files, project)
        else:
            found = _verified_folder(Path(target), key_files, signature_file or beside(Path(target)))
    except (NotFound, Unavailable) as error:
        raise Invalid(error.message, path=error.path, hint=error.hint) from error
    _show_verified(target, found, output)
    sys.exit(0 if found["trusted"] else 1)


def _verified_version(client: Client, target: str, key_files: Sequence[Path], project: str) -> dict[str, Any]:
    copy = Copy.of(client, target, project)
    found = copy.verification()
    if not key_files or found["problems"]:
        return found
    try:
        copy.proved(copy.manifest, [pems.read(file) for file in key_files])
    except Untrusted as error:
        return {**found, "trusted": False, "reason": error.message}
    return {**found, "trusted": True, "reason": ""}


def _verified_folder(folder: Path, key_files: Sequence[Path], signature_file: Path) -> dict[str, Any]:
    from mlwright.security.signing import folders  # see above

    if not key_files:
        raise Invalid("whose signature is it to be?", path="--key", hint="give the signer's public key: --key FILE")
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}", path=str(folder), hint="a version is written MODEL/3")
    found = {"trusted": False, "reason": "", "files": 0, "fingerprint": "", "problems": []}
    try:
        signed, fingerprint = pems.proved(pems.read(signature_file), [pems.read(file) for file in key_files])
    except Untrusted as error:
        return {**found, "reason": error.message}
    different = differences(signed, folders.manifest_of(folder, ignored=signed.ignored))
    return {
        "trusted": not different,
        "reason": f"not as it was signed: {_in_words(different)}" if different else "",
        "files": len(signed.files),
        "fingerprint": fingerprint,
        "problems": [{"path": each.path, "reason": each.change.value} for each in different],
    }


def _show_verified(target: str, found: Mapping[str, Any], output: str) -> None:
    if output != "table":
        show(found, output)
        return
    mark = click.style("trusted", fg="green") if found["trusted"] else click.style("not trusted", fg="red")
    click.echo(f"{mark}  {target}  ({found['files']} files)" + (f": {found['reason']}" if found["reason"] else ""))
    for each in found["problems"][:_SHOWN]:
        click.echo(f"  {each['path']}: {each['reason']}")
    for each in found.get("signatures", []):
        word = f"{each['state']} key {each['key']}" if each["key"] else f"unknown key {each['fingerprint'][:16]}…"
        click.echo(f"  {'signed' if each['trusted'] else 'does not count'}: {word}, brought by {each['signed_by']}")


@click.command("download")
@click.argument("version", metavar="MODEL/3")
@click.argument("folder", type=_FILE)
@_public
@_project
@with_client
def download(client: Client, version: str, folder: Path, key_files: Sequence[Path], project: str) -> None:
    """Download a version into the new folder FOLDER, and its signature beside it, as FOLDER.sig.

    Every byte is verified before the folder gets its name. What is not signed is downloaded only without --key, and if
    the project does not ask for signatures.
    """
    copy = Copy.of(client, version, project, load=True)
    signature = copy.download(folder, beside(folder), [pems.read(file) for file in key_files])
    if signature is None:
        click.echo(f"note: {version} is not signed", err=True)
    click.echo(str(folder))


def beside(folder: Path) -> Path:
    """Where the signature of a folder is, unless somebody says otherwise."""
    return folder.with_name(f"{folder.resolve().name}.sig")


def _in_words(different: Sequence[Difference]) -> str:
    named = ", ".join(f"{each.path} ({each.change.value})" for each in different[:5])
    return f"{named} and {len(different) - 5} more" if len(different) > 5 else named
