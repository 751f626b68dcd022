"""What models need is read from MLflow's files; whatever says where packages come from is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlwright.compute import locks
from mlwright.kernel.errors import Invalid, NotFound

CONDA = """
channels: [conda-forge]
dependencies:
- python=3.11.7
- pip<=24.0
- pip:
  - mlflow==3.17.2
  - scikit-learn==1.9.1
"""


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def test_what_mlflow_writes(tmp_path: Path) -> None:
    requirements = "mlflow==3.17.2\n# why\nscikit-learn==1.9.1  # pinned\n"
    env = "python: 3.11.7\nbuild_dependencies: [pip]\ndependencies: [-r requirements.txt]\n"
    found = locks.read(write(tmp_path, requirements__txt=requirements, conda__yaml=CONDA, python_env__yaml=env))
    assert found.source == "requirements.txt"
    assert found.requirements == ["mlflow==3.17.2", "scikit-learn==1.9.1"]
    assert (found.python, found.unavailable, found.constraints) == ("3.11.7", [], [])


def test_the_pip_part_of_conda_and_what_only_conda_has(tmp_path: Path) -> None:
    text = CONDA.replace("- pip<=24.0", "- pip\n- cudatoolkit=11.8\n- conda-forge::libgomp")
    found = locks.read(write(tmp_path, conda__yaml=text))
    assert found.requirements == ["mlflow==3.17.2", "scikit-learn==1.9.1"]
    assert found.unavailable == ["cudatoolkit=11.8", "conda-forge::libgomp"]
    assert found.python == "3.11.7"


def test_constraints_hashes_markers_and_continued_lines(tmp_path: Path) -> None:
    requirements = (
        "-c constraints.txt\n--requirement more.txt\n"
        'pandas[parquet,excel]>=2,<4 ; python_version >= "3.11" \\\n  --hash=sha256:00ff \\\n  --hash=sha256:11ee\n'
    )
    files = {"requirements__txt": requirements, "constraints__txt": "numpy<3\n", "more__txt": "torch==2.1.0+cpu\n"}
    found = locks.read(write(tmp_path, **files, MLmodel="flavors: {python_function: {python_version: 3.12.1}}"))
    pandas = 'pandas[parquet,excel]>=2,<4 ; python_version >= "3.11" --hash=sha256:00ff --hash=sha256:11ee'
    assert found.requirements == ["torch==2.1.0+cpu", pandas]
    assert found.constraints == ["numpy<3"]
    assert found.python == "3.12.1"


def test_a_lock_of_pep_751(tmp_path: Path) -> None:
    text = """
lock-version = "1.0"
[[packages]]
name = "six"
version = "1.17.0"
marker = "python_version >= '3.8'"
wheels = [{url = "https://example.invalid/six.whl", hashes = {sha256 = "ab12"}}]
"""
    found = locks.read(write(tmp_path, pylock__toml=text, requirements__txt="six\n"))
    assert found.source == "pylock.toml"
    assert found.requirements == ["six==1.17.0 ; python_version >= '3.8' --hash=sha256:ab12"]
    text = text.replace("wheels = [", 'vcs = {type = "git", url = "https://example.invalid"}\n#')
    with pytest.raises(Invalid, match="comes from no package index"):
        locks.read(write(tmp_path, pylock__toml=text))


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://evil.invalid/simple",
        "--extra-index-url=https://evil.invalid/simple",
        "-f /tmp",
        "--trusted-host evil.invalid",
        "-e ./code",
        "./wheel.whl",
        "/etc/passwd",
        "https://evil.invalid/x.whl",
        "git+https://evil.invalid/x.git",
        "six @ https://evil.invalid/six.whl",
        "six@file:///tmp/six.whl",
        "six[x] @ git+ssh://evil",
        "six ; python_version > '3' @ https://evil.invalid",
        "six==1 --global-option=x",
        "-r ../../secret.txt",
        "-r /etc/passwd",
        "-r requirements.txt",
        "-c missing.txt",
        "$(touch x)",
        "six==1; import os @ file:///x",
    ],
)
def test_only_names_of_packages_are_taken(tmp_path: Path, line: str) -> None:
    with pytest.raises(Invalid):
        locks.read(write(tmp_path, requirements__txt=f"numpy==2\n{line}\n"))


@given(st.text(max_size=60))
def test_no_line_brings_an_address_an_option_or_a_second_line(
    tmp_path_factory: pytest.TempPathFactory, line: str
) -> None:
    folder = tmp_path_factory.mktemp("model")
    (folder / "requirements.txt").write_text(f"six{line}", encoding="utf-8")
    try:
        found = locks.read(folder)
    except Invalid:
        return
    for each in found.requirements:
        assert "@" not in each
        assert "\n" not in each
        assert not each.startswith("-")
        assert " -" not in each.replace(" --hash=", " ")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="which packages"):
        locks.read(tmp_path)
    for files in (
        {"conda__yaml": "dependencies: [pip: ["},
        {"pylock__toml": "packages = 5"},
        {"pylock__toml": "= ="},
        {"requirements__txt": "six", "python_env__yaml": "python: '3; rm -rf'"},
    ):
        with pytest.raises(Invalid):
            locks.read(write(tmp_path, **files))
        for path in tmp_path.iterdir():
            path.unlink()
    (tmp_path / "requirements.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(Invalid, match="cannot be read"):
        locks.read(tmp_path)
