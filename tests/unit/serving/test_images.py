"""Images without a daemon: the same bytes for the same things, layouts that others read, and hostile grounds."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as property_of
from hypothesis import strategies as st

from mlwright.compute.spec import Environment, Limits
from mlwright.kernel.errors import AlreadyExists, Invalid, MlwrightError, NotFound
from mlwright.serving.images import archive, content, given
from mlwright.serving.images.building import Builder, Built, Source, Wishes
from mlwright.serving.images.layers import Entry, Layers

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
MLMODEL = (
    "flavors:\n  sklearn: {pickled_model: m.pkl}\n  python_function: {loader_module: mlflow.sklearn}\n"
    'signature:\n  inputs: \'[{"type": "double", "name": "x"}]\'\n'
)


class Made:
    """Environments that are folders of a few files: what is in them is not what this is about."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []

    @contextmanager
    def ready(self, model: Path, limits: Limits, *, builds: bool = False, exact: bool = False) -> Iterator[Environment]:
        assert limits.seconds > 0
        assert (builds, exact) == (False, False)
        listed = (model / "requirements.txt").read_text()
        self.asked.append(listed)
        place = self.folder / hashlib.sha256(listed.encode()).hexdigest()
        site = place / "lib" / f"python{MINOR}" / "site-packages"
        (site / "fast" / "tests").mkdir(parents=True, exist_ok=True)
        for name, text in {
            "fast/__init__.py": "ONE = 1\n", "fast/tests/test_fast.py": "", "fast/core.pyi": "", "uv_cache.json": "{}",
            "fast-1.0.dist-info/METADATA": "Name: Fast\nVersion: 1.0\nLicense-Expression: MIT\n",
        }.items():  # fmt: skip
            (site / name).parent.mkdir(exist_ok=True)
            (site / name).write_text(text)
        (place / "bin").mkdir(exist_ok=True)
        if not (place / "bin" / "python").exists():
            (place / "bin" / "python").symlink_to(sys.executable)
        yield Environment(str(place), f"{MINOR}.9", MINOR, ["fast==1.0"])


@pytest.fixture
def model(tmp_path: Path) -> Source:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "m.pkl").write_bytes(b"pickle")
    (folder / "requirements.txt").write_text("mlflow==3.17.2\nfast==1.0\n")
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    return Source("Flights Delayed", "default", 3, f"sha256:{'a' * 64}", folder, files, "run-1", "c0ffee")


@pytest.fixture
def ground(tmp_path: Path) -> Path:
    """A root file system with something called Python in it."""
    folder = tmp_path / "ground" / "usr" / "bin"
    folder.mkdir(parents=True)
    (folder / f"python{MINOR}").write_bytes(b"\x7fELF")
    (folder / f"python{MINOR}").chmod(0o755)
    return tmp_path / "ground"


def build(cache: Path, model: Source, **wishes: Any) -> tuple[Built, Made]:
    made = Made(cache / "environments")
    return Builder(cache, made, lambda _: None).build(model, Wishes(**wishes)), made


def config_of(built: Built) -> Any:
    return json.loads(built.image.small[f"blobs/{built.image.config_digest.replace(':', '/')}"])


def names(layers: Layers, digest: str) -> list[str]:
    with tarfile.open(layers.blob(digest)) as tar:
        return tar.getnames()


# --- the whole ----------------------------------------------------------------------------------------------------


def test_the_same_version_is_the_same_image_wherever_it_is_built(model: Source, ground: Path, tmp_path: Path) -> None:
    first, made = build(tmp_path / "one", model, base=str(ground))
    second, _ = build(tmp_path / "two", model, base=str(ground))
    assert first.image.digest == second.image.digest
    assert first.bill == second.bill
    assert made.asked[0] == "fast==1.0\n"  # MLflow only saves models
    assert "starlette==" in made.asked[1]
    again, made = build(tmp_path / "one", model, base=str(ground))
    assert (again.image.digest, made.asked) == (first.image.digest, [])  # nothing was looked at again
    moved = model._replace(version=4, digest=f"sha256:{'b' * 64}")
    later, made = build(tmp_path / "one", moved, base=str(ground))
    shared = {each.digest for each in later.image.layers} & {each.digest for each in first.image.layers}
    assert (len(later.image.layers) - len(shared), made.asked) == (1, [])  # the files are those of version 3
    (model.folder / "MLmodel").write_text(f"{MLMODEL}model_uuid: another\n")
    _, made = build(tmp_path / "one", moved, base=str(ground))
    assert made.asked == []  # what it needs is what it was


def test_two_who_build_at_once_get_the_same(model: Source, ground: Path, tmp_path: Path) -> None:
    def one(number: int) -> str:
        builder = Builder(tmp_path / "cache", Made(tmp_path / str(number)), lambda _: None)
        return builder.build(model, Wishes(base=str(ground))).image.digest

    with ThreadPoolExecutor(3) as threads:
        assert len(set(threads.map(one, range(3)))) == 1


def test_what_an_image_says_of_itself(model: Source, ground: Path, tmp_path: Path) -> None:
    built, _ = build(tmp_path / "cache", model, base=str(ground), endpoint="delays")
    config = config_of(built)
    settings = config["config"]
    assert (built.image.name, settings["User"], settings["StopSignal"]) == (
        "mlwright/flights-delayed:3", "65532:65532", "SIGTERM",
    )  # fmt: skip
    assert config["created"] == "1970-01-01T00:00:00Z"
    assert settings["Healthcheck"]["Test"][:3] == ["CMD", f"/usr/bin/python{MINOR}", "-I"]
    labels = settings["Labels"]
    assert (labels["org.opencontainers.image.revision"], labels["dev.mlwright.run-id"]) == ("c0ffee", "run-1")
    assert (labels["dev.mlwright.digest"], labels["dev.mlwright.endpoint"]) == (model.digest, "delays")
    found = {name for layer in built.image.layers for name in names(built.layers, layer.digest)}
    site = f"opt/environment/lib/python{MINOR}/site-packages"
    compiled = f"{site}/fast/__pycache__/__init__.{sys.implementation.cache_tag}.pyc"
    assert {"opt/model/m.pkl", "opt/environment/bin/python", f"{site}/fast/__init__.py", compiled} <= found
    assert not {f"{site}/fast/tests", f"{site}/fast/core.pyi", f"{site}/uv_cache.json"} & found
    state = json.loads(file_in(built, "opt/mlwright/state.json"))
    (revision,) = state["endpoints"][0]["revisions"]
    assert (state["endpoints"][0]["name"], revision["loader"], revision["folder"]) == (
        "delays",
        "sklearn",
        "/opt/model",
    )


def file_in(built: Built, path: str) -> bytes:
    for layer in built.image.layers:
        with tarfile.open(built.layers.blob(layer.digest)) as tar:
            if path in tar.getnames():
                file = tar.extractfile(path)
                assert file is not None
                return file.read()
    raise LookupError(path)


def test_the_bill_lists_the_model_its_files_and_what_is_installed(model: Source, ground: Path, tmp_path: Path) -> None:
    from cyclonedx.model.bom import Bom

    built, _ = build(tmp_path / "cache", model, base=str(ground))
    assert file_in(built, "opt/mlwright/sbom.cdx.json") == built.bill
    document = json.loads(built.bill)
    read: Any = Bom.from_json(document)  # type: ignore[attr-defined]
    components = {each.name: each for each in read.components}
    assert {str(components["fast"].purl), str(components["mlwright"].purl)[:18]} == {
        "pkg:pypi/fast@1.0", "pkg:pypi/mlwright@",
    }  # fmt: skip
    assert {each.name for each in components["Flights Delayed"].components} == set(model.files)
    assert read.metadata.component.type.value == "container"


def test_the_host_runs_from_its_layer_alone(tmp_path: Path) -> None:
    for entry in content.code():
        assert isinstance(entry.source, Path)
        (tmp_path / entry.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / entry.path).write_bytes(entry.source.read_bytes())
    site = str(tmp_path / content.SITE)
    whole = "import mlwright.serving.packing, mlwright.serving.host.main as m; print(m.__file__)"
    whole = f"import sys; sys.path.insert(0, sys.argv[1]); {whole}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", whole, site], capture_output=True, text=True, check=True, cwd=tmp_path
    )  # fmt: skip
    assert done.stdout.startswith(site)


def test_other_machines_and_models_without_a_flavor_are_refused(model: Source, ground: Path, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="not for linux/s390x"):
        build(tmp_path / "cache", model, base=str(ground), platform="linux/s390x")
    (model.folder / "MLmodel").write_text("flavors: {}")
    with pytest.raises(Invalid, match="no flavor that can be served"):
        build(tmp_path / "cache", model, base=str(ground))
    (model.folder / "MLmodel").write_text("[" * 10_000)
    with pytest.raises(Invalid, match="cannot be read"):
        build(tmp_path / "cache", model, base=str(ground))


# --- layers -------------------------------------------------------------------------------------------------------

PATHS = st.lists(st.text("abé.-", min_size=1, max_size=8).filter(lambda name: name.strip(".")), min_size=1, max_size=3)


@property_of(found=st.dictionaries(PATHS.map("/".join), st.binary(max_size=600), max_size=8), seed=st.randoms())
def test_layers_depend_on_what_is_in_them_alone(tmp_path_factory: Any, found: dict[str, bytes], seed: Any) -> None:
    files = {path: data for path, data in found.items() if not any(other.startswith(f"{path}/") for other in found)}
    entries = [Entry(path, data) for path, data in files.items()]
    layers = Layers(tmp_path_factory.mktemp("layers"))
    first = layers.files(entries)
    seed.shuffle(entries)
    again = Layers(tmp_path_factory.mktemp("others")).files(entries)
    assert first == again
    with tarfile.open(layers.blob(first.digest)) as tar:
        members = {each.name: each for each in tar}
        assert {name for name, each in members.items() if each.isfile()} == set(files)
        assert all((each.mtime, each.uid, each.gid, each.uname) == (0, 0, 0, "") for each in members.values())
        for path, data in files.items():
            file = tar.extractfile(path)
            assert file is not None
            assert file.read() == data
    order = list(members)
    assert all(order.index(path.rpartition("/")[0]) < order.index(path) for path in order if "/" in path)


def test_a_layer_that_was_cut_is_written_again(tmp_path: Path) -> None:
    layers = Layers(tmp_path)
    entries = [Entry("a", b"x" * 5_000)]
    layer = layers.files(entries)
    layers.blob(layer.digest).chmod(0o644)
    layers.blob(layer.digest).write_bytes(b"half")
    assert layers.files(entries) == layer
    assert layers.blob(layer.digest).stat().st_size == layer.size
    os.utime(layers.blob(layer.digest), (1, 1))
    for note in (tmp_path / "keys").iterdir():
        os.utime(note, (1, 1))
    layers.collect(before_s=2)
    assert [*(tmp_path / "keys").iterdir(), *(tmp_path / "blobs").iterdir()] == []


# --- files --------------------------------------------------------------------------------------------------------


def test_one_tar_is_a_layout_and_what_docker_loads(model: Source, ground: Path, tmp_path: Path) -> None:
    built, _ = build(tmp_path / "cache", model, base=str(ground))
    archive.write_tar(built.image, built.layers, tmp_path / "image.tar")
    archive.write_folder(built.image, built.layers, tmp_path / "layout")
    with tarfile.open(tmp_path / "image.tar") as tar:
        held = {each.name: tar.extractfile(each).read() for each in tar}  # type: ignore[union-attr]
    for path, data in held.items():
        if path.startswith("blobs/"):
            assert hashlib.sha256(data).hexdigest() == path.rpartition("/")[2]
    (docker,) = json.loads(held["manifest.json"])
    assert docker["RepoTags"] == ["mlwright/flights-delayed:3"]
    index = json.loads(held["index.json"])
    manifest = json.loads(held[f"blobs/{index['manifests'][0]['digest'].replace(':', '/')}"])
    assert [f"blobs/{each['digest'].replace(':', '/')}" for each in manifest["layers"]] == docker["Layers"]
    config = json.loads(held[docker["Config"]])
    assert config["rootfs"]["diff_ids"] == [each["digest"] for each in manifest["layers"]]
    laid = {
        path.relative_to(tmp_path / "layout").as_posix() for path in (tmp_path / "layout").rglob("*") if path.is_file()
    }
    assert laid == set(held) - {"manifest.json"}
    archive.write_folder(built.image, built.layers, tmp_path / "layout")  # again is nothing new
    with pytest.raises(AlreadyExists):
        archive.write_folder(built.image, built.layers, model.folder)


# --- grounds ------------------------------------------------------------------------------------------------------


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


ROOT = packed({f"usr/local/bin/python{MINOR}": b"\x7fELF"})


def layout(folder: Path, layer: bytes, diff: bytes, architecture: str = "amd64") -> Path:
    """A layout as others write it, its layer compressed."""

    def put(data: bytes) -> dict[str, Any]:
        name = hashlib.sha256(data).hexdigest()
        (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        (folder / "blobs" / "sha256" / name).write_bytes(data)
        return {"digest": f"sha256:{name}", "size": len(data)}

    diff_id = f"sha256:{hashlib.sha256(diff).hexdigest()}"
    config = put(json.dumps({"architecture": architecture, "rootfs": {"diff_ids": [diff_id]}}).encode())
    manifest = put(json.dumps({"config": config, "layers": [put(layer)]}).encode())
    (folder / "oci-layout").write_text("{}")
    (folder / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    return folder


def test_grounds_of_all_kinds(tmp_path: Path) -> None:
    layers = Layers(tmp_path / "layers")
    (tmp_path / "root.tar").write_bytes(ROOT)
    (tmp_path / "root.tar.gz").write_bytes(gzip.compress(ROOT))
    layout(tmp_path / "layout", gzip.compress(ROOT), ROOT)
    diff_id = f"sha256:{hashlib.sha256(ROOT).hexdigest()}"
    config = json.dumps({"rootfs": {"diff_ids": [diff_id]}}).encode()
    saved = json.dumps([{"Config": "c.json", "Layers": ["l/layer.tar"]}]).encode()
    (tmp_path / "saved.tar").write_bytes(packed({"c.json": config, "l/layer.tar": ROOT, "manifest.json": saved}))
    for name in ("root.tar", "root.tar.gz", "saved.tar", "oci:layout", "layout"):
        kind, colon, path = name.rpartition(":")
        found = given.base(f"{kind}{colon}{tmp_path / path}", MINOR, "amd64", layers)
        assert (found.python, [each.diff_id for each in found.layers]) == (f"/usr/local/bin/python{MINOR}", [diff_id])


EVIL = json.dumps([{"Config": "../../etc/passwd", "Layers": []}]).encode()
HOSTILE: dict[str, bytes] = {
    "no tar": b"hello",
    "empty": b"",
    "cut": gzip.compress(ROOT)[:60],
    "names a file outside": packed({"manifest.json": EVIL}),
    "climbs": packed({"../../evil": b"", "manifest.json": b"[]"}),
    "no image": packed({"manifest.json": b"[]"}),
    "a document of another shape": packed({"manifest.json": b'[["Config"]]'}),
    "no documents": packed({"manifest.json": b"\xff"}),
    "no Python": packed({"bin/sh": b""}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_grounds_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "ground.tar").write_bytes(HOSTILE[name])
    with pytest.raises(Invalid) as refused:
        given.base(str(tmp_path / "ground.tar"), MINOR, "amd64", Layers(tmp_path / "layers"))
    assert refused.value.path == "--base"
    assert not (tmp_path.parent / "evil").exists()


def test_layouts_are_not_believed(tmp_path: Path) -> None:
    layers = Layers(tmp_path / "layers")
    cases: dict[str, Any] = {
        "is not what its image says": layout(tmp_path / "a", gzip.compress(ROOT), b"another"),
        "an image for arm64": layout(tmp_path / "b", ROOT, ROOT, "arm64"),
    }
    changed = layout(tmp_path / "c", ROOT, ROOT)
    (changed / "blobs" / "sha256" / hashlib.sha256(ROOT).hexdigest()).write_bytes(b"changed")
    cases["has other bytes"] = changed
    for reason, folder in cases.items():
        with pytest.raises(MlwrightError, match=reason):
            given.base(f"oci:{folder}", MINOR, "amd64", layers)
    with pytest.raises(NotFound):
        given.base(str(tmp_path / "none"), MINOR, "amd64", layers)


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("", "mlwright/flights-delayed:3"),
        ("flights", "flights:3"),
        ("localhost:5000/flights", "localhost:5000/flights:3"),
        ("registry.example.org/team/flights:v1", "registry.example.org/team/flights:v1"),
    ],
)
def test_names_of_images(model: Source, ground: Path, tmp_path: Path, tag: str, name: str) -> None:
    built, _ = build(tmp_path / "cache", model, base=str(ground), tag=tag)
    assert built.image.name == name
    (index,) = json.loads(built.image.small["index.json"])["manifests"]
    host = name if "." in name or name.startswith("localhost") else f"docker.io/{name}"
    assert index["annotations"]["io.containerd.image.name"] == host


@pytest.mark.parametrize("tag", ["UPPER", "a b", "a:b:c", "../x", "x@sha256:00", "-", "a" * 9 + ":"])
def test_names_that_no_registry_takes(model: Source, ground: Path, tmp_path: Path, tag: str) -> None:
    with pytest.raises(Invalid) as refused:
        build(tmp_path / "cache", model, base=str(ground), tag=tag)
    assert refused.value.path == "--tag"
