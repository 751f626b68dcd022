"""Environments are built by a real uv from wheels made here: whole or not at all, kept, and collected."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mlwright.compute.environments import Environments
from mlwright.compute.spec import Limits
from mlwright.kernel.errors import Invalid, NoEnvironment, NotFound
from tests.unit.compute.wheels import variables, wheel

LIMITS = Limits(seconds=120)
OURS = f"{sys.version_info.major}.{sys.version_info.minor}"
DAY_S = 86_400.0


class World:
    """Wheels, a model that needs them, and the environments."""

    def __init__(self, folder: Path) -> None:
        self.now_s = time.time()
        self.wheels, self.folder, self.model = folder / "wheels", folder / "environments", folder / "model"
        self.variables = variables(self.wheels, folder / "cache")
        self.environments = Environments(self.folder, self.variables, lambda: self.now_s)
        self.model.mkdir()
        wheel(self.wheels, "tiny", "1.0", {"tiny.py": "VALUE = 1\n"}, ["smaller"])
        wheel(self.wheels, "smaller", "2.0", {"smaller.py": "VALUE = 2\n"})
        self.asks("tiny==1.0")

    def asks(self, *lines: str, python: str = OURS) -> None:
        (self.model / "requirements.txt").write_text("\n".join(lines) + "\n")
        (self.model / "python_env.yaml").write_text(f"python: '{python}'\n")

    def names(self) -> list[str]:
        return [path.name for path in self.folder.iterdir()] if self.folder.exists() else []


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_it_is_built_once_and_works_where_it_is(world: World) -> None:
    with world.environments.ready(world.model, LIMITS) as found:
        command: list[str | Path] = [
            found.interpreter,
            "-I",
            "-c",
            "import tiny, smaller; print(tiny.VALUE + smaller.VALUE)",
        ]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "3\n"
        assert found.packages == ["smaller==2.0", "tiny==1.0"]
        assert found.is_as_asked
        assert found.python.startswith(OURS)
    for path in world.wheels.iterdir():
        path.unlink()
    with world.environments.ready(world.model, LIMITS) as again:
        assert again == found
    assert world.names() == [Path(found.folder).name]


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (["tiny==1.0", "nowhere==3"], "nowhere cannot be installed: .*not found"),
        (["tiny==9.9"], "tiny cannot be installed: .*no version of tiny==9.9"),
        (["tiny==1.0", "smaller<2"], "cannot be installed: .*unsatisfiable"),
        (["tiny==1.0 --hash=sha256:" + "0" * 64], "cannot be installed"),
    ],
)
def test_it_says_which_requirement_and_why(world: World, lines: list[str], what: str) -> None:
    world.asks(*lines)
    with pytest.raises(NoEnvironment, match=what), world.environments.ready(world.model, LIMITS):
        pass
    assert world.names() == []


def test_a_package_without_a_wheel_is_built_only_when_allowed(world: World) -> None:
    source = world.wheels.parent / "src" / "crude-1.0"
    source.mkdir(parents=True)
    ran = world.wheels.parent / "ran"
    (source / "setup.py").write_text(f"open({str(ran)!r}, 'w')\n")
    (source / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: crude\nVersion: 1.0\n")
    packed = world.wheels / "crude-1.0.tar.gz"
    subprocess.run(["tar", "-C", source.parent, "-czf", packed, "crude-1.0"], check=True)
    world.asks("crude==1.0")
    with pytest.raises(NoEnvironment, match="crude") as caught, world.environments.ready(world.model, LIMITS):
        pass
    assert "sourceDistributions" in caught.value.hint
    assert not ran.exists()


def test_another_python_than_asked_for_is_said(world: World) -> None:
    world.asks("tiny", python=f"{OURS}.999")
    with world.environments.ready(world.model, LIMITS) as found:
        assert found.is_as_asked  # a patch is no difference
        assert found.asked == f"{OURS}.999"
    world.asks("tiny", python="3.7.1")
    with world.environments.ready(world.model, LIMITS) as found:
        assert not found.is_as_asked
        assert found.asked == "3.7.1"


def test_what_the_model_says_is_read_with_care(world: World) -> None:
    world.asks("--index-url https://evil.invalid")
    with pytest.raises(Invalid, match="not the name of a package"), world.environments.ready(world.model, LIMITS):
        pass
    (world.model / "requirements.txt").unlink()
    with pytest.raises(NotFound), world.environments.ready(world.model, LIMITS):
        pass


def test_two_builders_at_once_end_well(world: World) -> None:
    world.environments._interpreter(OURS, None)
    found: list[str] = []

    def build() -> None:
        with world.environments.ready(world.model, LIMITS) as environment:
            found.append(environment.folder)

    threads = [threading.Thread(target=build) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert world.names() == [Path(found[0]).name]


def test_a_builder_that_is_killed_leaves_no_environment(world: World) -> None:
    program = (
        "import sys, json; from pathlib import Path\n"
        "from mlwright.compute.environments import Environments; from mlwright.compute.spec import Limits\n"
        "folder, model, variables = json.loads(sys.argv[1])\n"
        "with Environments(Path(folder), variables).ready(Path(model), Limits(60)): print('built', flush=True)\n"
    )
    asked = json.dumps([str(world.folder), str(world.model), world.variables])
    builder = subprocess.Popen([sys.executable, "-c", program, asked], stdout=subprocess.PIPE)
    while builder.poll() is None and not any(name.startswith(".building-") for name in world.names()):
        time.sleep(0.001)
    builder.send_signal(signal.SIGKILL)
    assert builder.communicate()[0] == b""
    assert all(name.startswith(".building-") for name in world.names())
    with world.environments.ready(world.model, LIMITS) as found:
        assert found.packages == ["smaller==2.0", "tiny==1.0"]
    world.now_s += 3 * DAY_S
    for name in world.names():
        if name.startswith("."):
            os.utime(world.folder / name, (1, 1))
    world.environments.collect(30 * DAY_S)
    assert world.names() == [Path(found.folder).name]


def test_unused_environments_are_collected_and_used_ones_are_not(world: World) -> None:
    with world.environments.ready(world.model, LIMITS) as found:
        world.now_s += 40 * DAY_S
        assert world.environments.collect(30 * DAY_S).environments == 0  # in use, whatever the clock says
    assert world.environments.collect(30 * DAY_S, dry=True).environments == 1
    with world.environments.ready(world.model, LIMITS):
        pass
    assert world.environments.collect(30 * DAY_S).environments == 0  # used just now
    world.now_s += 40 * DAY_S
    freed = world.environments.collect(30 * DAY_S)
    assert freed.environments == 1
    assert freed.bytes > 0
    assert world.names() == []
    with world.environments.ready(world.model, LIMITS) as again:
        assert again.folder == found.folder


def test_a_damaged_environment_is_built_again(world: World) -> None:
    with world.environments.ready(world.model, LIMITS) as found:
        pass
    for name in ("mlwright.lock", "mlwright.json"):
        (Path(found.folder) / name).unlink()
        with world.environments.ready(world.model, LIMITS) as again:
            assert again == found


def test_a_lock_of_uv(world: World) -> None:
    project = (
        "[project]\nname = 'mine'\nversion = '1'\nrequires-python = '>=3.11'\ndependencies = ['tiny']\n"
        "[dependency-groups]\ndev = ['nowhere']\n"
    )
    package = '[[package]]\nname = "{}"\nversion = "{}"\nsource = {{ registry = "https://index.invalid/simple" }}\n'
    own = '[[package]]\nname = "mine"\nversion = "1"\nsource = { virtual = "." }\ndependencies = [{ name = "tiny" }]\n'
    needs = 'dependencies = [{ name = "smaller" }]\n'
    locked = [own, package.format("smaller", "2.0"), package.format("tiny", "1.0"), needs]
    lock = 'version = 1\nrequires-python = ">=3.11"\n' + "".join(locked)
    (world.model / "pyproject.toml").write_text(project)
    (world.model / "uv.lock").write_text(lock)
    world.asks("nowhere")  # the lock says more
    with world.environments.ready(world.model, LIMITS) as found:
        assert found.packages == ["smaller==2.0", "tiny==1.0"]
    elsewhere = lock.replace("registry", "git").replace("/simple", "/simple#" + "0" * 40)
    (world.model / "uv.lock").write_text(elsewhere)
    with pytest.raises(Invalid, match="not the name of a package"), world.environments.ready(world.model, LIMITS):
        pass
    (world.model / "uv.lock").write_text("version = nonsense")
    with pytest.raises(NoEnvironment, match=r"uv\.lock cannot be read"), world.environments.ready(world.model, LIMITS):
        pass


def test_without_uv_it_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise FileNotFoundError("no uv")

    monkeypatch.setattr("uv.find_uv_bin", missing)
    with pytest.raises(NoEnvironment, match="uv is missing"), world.environments.ready(world.model, LIMITS):
        pass


def test_a_build_that_takes_too_long_ends(world: World) -> None:
    with pytest.raises(NoEnvironment, match="longer than"), world.environments.ready(world.model, Limits(0.001)):
        pass
