"""Static files: addresses by content, compression, caching, no way out of the folder."""

import asyncio
import gzip
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.errors import NotFound
from mlwright.web.assets import Assets, texts_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "js").mkdir()
    (tmp_path / "js" / "a.js").write_text('export const x = t("Hello {n}", { n: 1 });' + " " * 2_000)
    (tmp_path / "small.css").write_text("a{}")
    (tmp_path.parent / "secret.txt").write_text("secret")
    return tmp_path


def serve(assets: Assets, name: str, digest: str = "", **headers: str) -> Response:
    pairs = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    scope = {"type": "http", "headers": pairs, "path_params": {"digest": digest or assets.digest, "name": name}}
    return asyncio.run(assets.serve(Request(scope)))


def test_the_address_changes_with_any_content(folder: Path) -> None:
    before = Assets(folder).url("js/a.js")
    (folder / "small.css").write_text("b{}")
    assert Assets(folder).url("js/a.js") != before


def test_an_unknown_name_in_a_template_is_an_error(folder: Path) -> None:
    with pytest.raises(KeyError):
        Assets(folder).url("js/b.js")


def test_kept_for_good_only_at_its_own_address(folder: Path) -> None:
    assets = Assets(folder)
    assert "immutable" in serve(assets, "js/a.js").headers["cache-control"]
    assert serve(assets, "js/a.js", digest="0" * 16).headers["cache-control"] == "no-cache"


def test_compressed_where_it_pays(folder: Path) -> None:
    assets = Assets(folder)
    big = serve(assets, "js/a.js", accept_encoding="gzip, br")
    assert big.headers["content-encoding"] == "gzip"
    assert gzip.decompress(big.body) == (folder / "js" / "a.js").read_bytes()
    assert big.headers["content-type"].startswith("text/javascript")
    assert "content-encoding" not in serve(assets, "small.css", accept_encoding="gzip").headers
    assert "content-encoding" not in serve(assets, "js/a.js").headers


def test_not_sent_again(folder: Path) -> None:
    assets = Assets(folder)
    etag = serve(assets, "small.css").headers["etag"]
    assert serve(assets, "small.css", if_none_match=etag).status_code == 304


@pytest.mark.parametrize("name", ["../secret.txt", "js/../../secret.txt", "/etc/passwd", "js", "", "js/a.js\0"])
def test_only_files_of_the_folder(folder: Path, name: str) -> None:
    with pytest.raises(NotFound):
        serve(Assets(folder), name)


def test_texts_of_scripts(folder: Path) -> None:
    assert Assets(folder).script_texts() == {"Hello {n}"}
    assert texts_in("""t( "a \\"b\\"" ); about("no"); t(name)""") == ['a "b"']


def test_the_packaged_files_are_there() -> None:
    assets = Assets()
    for name in ("css/base.css", "js/app.js", "icon.svg", "vendor/htmx.min.js", "vendor/uplot.min.js"):
        assert assets.url(name).endswith(name)
