"""Formats that are no pickles, and the ways in which their loaders run code all the same."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import pytest

from mlwright.security.scanning.spec import Verdict
from tests.unit.security.scanning.samples import EVIL, report, rules, zipped

DENSE = {
    "module": "keras.layers",
    "class_name": "Dense",
    "config": {
        "units": 2,
        "activation": "relu",
        "kernel_initializer": {"module": "keras.initializers", "class_name": "GlorotUniform", "config": {}},
    },
    "registered_name": None,
}


def model(*layers: dict[str, Any]) -> bytes:
    return json.dumps({"module": "keras", "class_name": "Sequential", "config": {"layers": list(layers)}}).encode()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"class_name": "Lambda"}, "keras-code"),
        ({"class_name": "TorchModuleWrapper"}, "keras-code"),
        ({"class_name": "TFSMLayer"}, "keras-code"),
        ({"class_name": "Mine"}, "keras-foreign"),
        ({"module": "os"}, "keras-foreign"),
        ({"module": "keras.utils"}, "keras-foreign"),
        ({"module": "keras.layers.os"}, ""),  # imports nothing: Keras has no such module, and the class is a layer
        ({"class_name": "function", "module": "keras.utils", "config": "get_file"}, "keras-foreign"),
        ({"class_name": "function", "module": "builtins", "config": "eval"}, "keras-foreign"),
        ({"class_name": "function", "module": "keras.activations", "config": "relu"}, ""),
        ({"class_name": "TextVectorization", "config": {"vocabulary": "/etc/passwd"}}, "keras-foreign"),
        ({"class_name": ["Dense"]}, "keras-foreign"),
    ],
)
def test_a_keras_model_may_use_what_is_on_the_list(change: dict[str, Any], rule: str) -> None:
    expected = {rule} if rule else set()
    assert rules(zipped({"config.json": model(DENSE, {**DENSE, **change})})) == expected
    assert rules(model(DENSE, {**DENSE, **change})) == expected


def test_no_way_of_writing_json_hides_a_keras_model() -> None:
    wild = model({**DENSE, "class_name": "Lambda"})
    for text in (
        b"\xef\xbb\xbf" + wild,
        b" \n" * 5000 + wild,
        wild.replace(b"class_name", b"class_\\u006eame"),
        wild.decode().encode("utf-16"),
        wild.replace(b"{", b" " * (17 << 20) + b"{", 1),
        wild.replace(b'"config"', b" " * (17 << 20) + b'"config"', 1).replace(b"class_name", b"class_\\u006eame"),
    ):
        assert report(zipped({"config.json": text})).verdict is Verdict.UNSAFE, text[:40]


def test_packed_bytes_that_look_like_text_are_unpacked() -> None:
    """A zlib stream may consist of printable characters alone; joblib unpacks whatever begins with an x."""
    packed = zlib.compressobj(wbits=-15, strategy=zlib.Z_FIXED)
    body = packed.compress(EVIL) + packed.flush()
    content = b"x^" + body + zlib.adler32(EVIL).to_bytes(4, "big")
    assert zlib.decompress(content) == EVIL
    assert rules(content) == {"pickle-global"}
    assert rules(b"x^2 + y^2 is no text to a loader that unpacks\n") == {"archive-malformed"}


def test_hdf5_is_searched_for_the_description_of_a_model() -> None:
    head = b"\x89HDF\r\n\x1a\n" + bytes(3000)
    assert report(head).kind == "hdf5"
    assert report(head).findings == ()
    named = head + b"model_config\0\0\0\0"
    assert report(named + model(DENSE) + bytes(1000)).findings == ()
    assert rules(named + model({**DENSE, "module": "os"}) + bytes(1000)) == {"keras-foreign"}
    assert rules(named + model({**DENSE, "class_name": "Lambda"})) == {"keras-code"}
    assert rules(named + model(DENSE)[:-10] + bytes(1000)) == {"keras-foreign"}
    assert rules(named) == {"keras-foreign"}
    split = (
        model({**DENSE, "class_name": "Lambda"})
        .replace(b"class_name", b"class_\\u006eame")
        .replace(b"Lam", b"\\u004cam")
    )
    assert report(named + model(DENSE) + split[:100] + bytes(9) + split[100:]).verdict is Verdict.UNSAFE
    assert rules(head + b"FRHP\0\x08\0\x01\0" + bytes(100)) == {"format-malformed"}


def node(module: str, name: str, loader: str = "ObjectNode", **content: Any) -> dict[str, Any]:
    return {"__module__": module, "__class__": name, "__loader__": loader, "content": content}


def test_skops_may_name_what_pickles_may() -> None:
    def schema(inner: dict[str, Any]) -> bytes:
        return zipped({"schema.json": json.dumps(node("sklearn.pipeline", "Pipeline", step=inner)).encode()})

    assert report(schema(node("sklearn.svm._classes", "SVC"))).findings == ()
    assert report(schema(node("builtins", "str", "JsonNode"))).findings == ()
    assert rules(schema(node("posix", "system", "FunctionNode"))) == {"skops-foreign"}
    ufunc = node("numpy", "ufunc", "FunctionNode", module_path="numpy", function="log1p")
    assert report(schema(ufunc)).findings == ()
    ufunc["content"]["module_path"] = "os"
    assert rules(schema(ufunc)) == {"skops-foreign"}
    assert rules(schema(node("builtins", "eval", "FunctionNode"))) == {"skops-foreign"}
    assert rules(schema(node("builtins", "type", "TypeNode"))) == {"skops-foreign"}
    assert rules(schema(node("sklearn.svm._classes", "SVC", "MethodNode"))) == {"skops-foreign"}


def gguf(key: str, value: str) -> bytes:
    name, text = key.encode(), value.encode()
    pair = struct.pack("<Q", len(name)) + name + struct.pack("<IQ", 8, len(text)) + text
    number = struct.pack("<Q", 1) + b"n" + struct.pack("<II", 4, 7)
    words = struct.pack("<Q", 1) + b"w" + struct.pack("<IIQ", 9, 8, 2) + 2 * (struct.pack("<Q", 3) + b"__a")
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 3) + number + words + pair + bytes(100)


def test_a_template_must_not_reach_for_python() -> None:
    tame = "{% for message in messages %}<|{{ message['role'] }}|>{{ message.content | trim }}{% endfor %}"
    assert report(gguf("tokenizer.chat_template", tame)).findings == ()
    assert report(gguf("general.name", "__init__")).findings == ()
    for wild in ("{{ x.__class__ }}", "{{ x | attr('a') }}", "{{ ''['\\x5f\\x5fclass\\x5f\\x5f'] }}"):
        assert rules(gguf("tokenizer.chat_template.tool", wild)) == {"gguf-template"}
    assert rules(gguf("a", "b")[:60]) == {"format-malformed"}
    assert rules(b"GGUF" + struct.pack("<IQQ", 9, 0, 1)) == {"format-malformed"}


def field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def test_onnx_must_not_read_other_files() -> None:
    def onnx(location: str) -> bytes:
        place = field(1, b"location") + field(2, location.encode())
        graph = field(1, b"node") + field(5, field(8, b"weights") + field(13, place))
        return b"\x08\x08" + field(2, b"pytorch") + field(7, graph) + field(8, b"\x10\x11")

    assert report(onnx("weights.bin")).kind == "onnx"
    assert report(onnx("weights.bin")).findings == ()
    for outside in ("../../etc/passwd", "/etc/passwd", "a/../../b"):
        assert rules(onnx(outside)) == {"onnx-external"}
    assert rules(b"\x08\x08" + field(2, b"x") + b"\xff\xff") & {"format-unknown", "format-malformed"}


MLMODEL = (
    "flavors:\n  python_function:\n    loader_module: {loader}\n    data: model.pkl\n{more}  sklearn:\n    code: null\n"
)


def test_mlflow_models_may_be_loaded_by_mlflow_only() -> None:
    assert report(MLMODEL.format(loader="mlflow.sklearn", more="").encode()).findings == ()
    assert rules(MLMODEL.format(loader="evil", more="").encode()) == {"mlflow-code"}
    assert rules(MLMODEL.format(loader="mlflow.sklearn", more="    code: code\n").encode()) == {"mlflow-code"}
    assert rules(MLMODEL.format(loader="[a]", more="").encode()) == {"mlflow-code"}
    assert rules(b"flavors: [\n") == {"format-malformed"}
    for text in ("{'flavors': {'f': {'loader_module': 'evil'}}}", '{"flavors": {"f": {"loader_module": "evil"}}}'):
        assert rules(zipped({"model/MLmodel": text.encode()})) == {"mlflow-code"}
        assert report(text.encode()).verdict is Verdict.SAFE  # by another name, MLflow does not read it
    laughs = "\n".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))
    bomb = f"a0: &a0 [x]\n{laughs}\nflavors:\n  f:\n    loader_module: *a29\n"
    assert rules(bomb.encode()) == {"format-malformed"}


def test_mlflow_models_are_loaded_from_their_folder_only() -> None:
    """Anybody may put a pickle elsewhere on the machine, for example as an artifact, and it has not been scanned."""
    for path in (
        "/blobs/ab/cd",
        "../evil.pkl",
        "a/../../evil",
        "..",
        "file:///x",
        "~/x",
        "C:/x",
        "..\\x",
        "\\\\host\\x",
    ):
        for option in (f"model_path: '{path}'", f"a: {{b: ['{path}']}}", f"model_name: '{path}'"):
            assert rules(f"flavors:\n  sklearn:\n    {option}\n".encode()) == {"mlflow-outside"}, option
    origin = "artifacts: {a: {uri: /home/ann/a.json, path: artifacts/a.json}}"
    name = "model_binary: model\n    source_model_name: /home/ann/tuned"
    for option in (origin, name, "data: 'a..b/c..'", "model_path: sub/model.pkl"):
        assert report(f"flavors:\n  f:\n    {option}\n".encode()).findings == (), option


def test_yaml_must_not_make_python_objects() -> None:
    assert rules(b"a: !!python/object/apply:os.system ['true']\n") == {"yaml-code"}
    assert rules(b"a: !<tag:yaml.org,2002:python/object/new:os.system> [x]\n") == {"yaml-code"}
    assert rules(b"a: !!%70ython/object/apply:os.system ['true']\n") == {"yaml-code"}
    assert rules(b"%TAG !p! tag:yaml.org,2002:pyt%68on/\n---\na: !p!name:os.system\n") == {"yaml-code"}
    assert report(b"# a: !!python/object/apply:os.system\n").findings == ()
    assert report(b"![image](a%20b.png) 100% wow!! 50%\n").findings == ()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (b"hello\n", "text"),
        ("模型\n".encode(), "text"),
        (b'{"learner": {}}', "json"),
        (b"{L" + struct.pack(">q", 7) + b"learner{", "xgboost ubjson"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "png"),
        (b"PAR1" + bytes(20), "parquet"),
        (b"x = 1\n", "text"),
        (b"xyz\n", "text"),
        (b"{% template %}", "json"),
    ],
)
def test_harmless_content_is_recognized(content: bytes, kind: str) -> None:
    found = report(content)
    assert (found.kind, found.verdict) == (kind, Verdict.SAFE)


def test_unknown_content_is_refused() -> None:
    assert rules(b"\x00\x01\x02\x03" * 100) == {"format-unknown"}
    assert rules(zipped({"weights": b"\x00\x01\x02\x03" * 100})) == {"format-unknown"}


def test_white_space_before_what_is_no_json_is_no_way_to_fail() -> None:
    for text in (b" " * 5000 + b"{% template %}", b" " * 5000 + b"{}", b"{% template %}", b"[1, 2", b" " * (2 << 20)):
        for name in ("MLmodel", "other"):
            found = report(zipped({name: text})).findings
            assert not [each for each in found if "scanner failed" in each.message], text[-20:]


def test_json_that_is_too_deep_is_refused_or_text() -> None:
    assert not [each for each in report(b"[" * 200_000).findings if "scanner failed" in each.message]
    assert not [each for each in report(b'{"class_name":' * 100_000).findings if "scanner failed" in each.message]
