"""The page of an endpoint: what it takes, how it is asked, and a form to try it. One file, nothing from elsewhere."""

import base64
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

from mlwright.serving.host.answering import encode
from mlwright.serving.host.endpoints import Endpoint
from mlwright.serving.host.examples import as_invocation, as_tensors
from mlwright.serving.host.hosted import metadata
from mlwright.serving.host.tensors import Asked

_STYLE = """
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{max-width:54rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #8884}
pre,textarea,output{font:14px/1.4 ui-monospace,monospace;width:100%;box-sizing:border-box}
pre,output{display:block;background:#8881;padding:.75rem;overflow:auto;white-space:pre-wrap;word-break:break-all}
input,textarea,button{font-size:inherit;padding:.4rem;margin:.25rem 0}label{display:block}
"""
_SCRIPT = """
document.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target, headers = {"content-type": "application/json"};
  if (form.key && form.key.value) headers.authorization = "Bearer " + form.key.value;
  const output = form.querySelector("output"), began = performance.now();
  output.textContent = "…";
  try {
    const answer = await fetch(form.action, {method: "POST", headers, body: form.body.value});
    const text = await answer.text(), took = (performance.now() - began).toFixed(1);
    output.textContent = answer.status + " · " + took + " ms\\n" + text;
  } catch (error) { output.textContent = String(error); }
});
"""


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


_POLICY = (
    f"default-src 'none'; script-src 'sha256-{_digest(_SCRIPT)}'; style-src 'sha256-{_digest(_STYLE)}';"
    " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"vary", b"accept-language"),
]
_ENGLISH = {
    "language": "en", "endpoints": "Endpoints",
    "endpoint": "Endpoint", "serves": "Version {} answers.", "takes": "What it takes", "gives": "What it answers",
    "name": "Name", "type": "Type", "shape": "Shape", "ask": "Ask it", "try": "Try it", "key": "Key", "send": "Send",
    "anything": "The model's signature says nothing about it.", "described": "Described in",
    "needs": "Callers need a key; the values of the example are made up.",
}  # fmt: skip
_CHINESE = {
    "language": "zh-TW", "endpoints": "端點",
    "endpoint": "端點", "serves": "目前由 {} 回應。", "takes": "輸入", "gives": "輸出",
    "name": "名稱", "type": "型別", "shape": "形狀", "ask": "如何呼叫", "try": "試試看", "key": "金鑰", "send": "送出",
    "anything": "模型的簽章沒有說明。", "described": "介面說明：",
    "needs": "呼叫時需要金鑰；範例中的值是虛構的。",
}  # fmt: skip


def of(endpoint: Endpoint, sample: Asked | None, headers: Mapping[bytes, bytes]) -> bytes:
    """The page, in Chinese for who prefers that."""
    words = _words(headers)
    told = metadata(endpoint, "")
    locked = bool(endpoint.served.keys)
    body = _indented(as_invocation(sample) if sample else {"inputs": []})
    key_field = f'<label>{words["key"]} <input name="key" type="password" autocomplete="off"></label>' if locked else ""
    name, path = escape(endpoint.served.name), quote(endpoint.served.name, safe="")
    content = f"""<h1>{words["endpoint"]} {name}</h1>
<p>{words["serves"].format(escape(_version(endpoint)))} {words["needs"] if locked else ""}</p>
<h2>{words["takes"]}</h2>{_table(told["inputs"], words)}
<h2>{words["gives"]}</h2>{_table(told["outputs"], words)}
<h2>{words["ask"]}</h2>
<pre>{escape(_commands(endpoint.served.name, sample, headers, locked=locked))}</pre>
<p>{words["described"]} <a href="{path}/openapi.json">OpenAPI</a></p>
<h2>{words["try"]}</h2>
<form action="{path}/invocations" method="post">{key_field}
<textarea name="body" rows="12" spellcheck="false" aria-label="JSON">{escape(body)}</textarea>
<button>{words["send"]}</button><output aria-live="polite"></output></form>"""
    return _page(name, content, words, _SCRIPT)


def of_all(names: Sequence[str], headers: Mapping[bytes, bytes]) -> bytes:
    """A page that leads to those of all endpoints."""
    words = _words(headers)
    links = "".join(f'<li><a href="endpoints/{quote(name, safe="")}">{escape(name)}</a></li>' for name in names)
    return _page(words["endpoints"], f"<h1>{words['endpoints']}</h1><ul>{links}</ul>", words)


def _words(headers: Mapping[bytes, bytes]) -> Mapping[str, str]:
    return _CHINESE if headers.get(b"accept-language", b"").lower().startswith(b"zh") else _ENGLISH


def _page(title: str, content: str, words: Mapping[str, str], script: str = "") -> bytes:
    return f"""<!doctype html>
<html lang="{words["language"]}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title><style>{_STYLE}</style></head>
<body><main>{content}</main>{f"<script>{script}</script>" if script else ""}</body></html>
""".encode()


def _version(endpoint: Endpoint) -> str:
    """The model and version that serve."""
    revision = endpoint.stable.revision
    return f"{revision.model}/{revision.version}"


def _table(tensors: list[dict[str, object]], words: Mapping[str, str]) -> str:
    if not tensors:
        return f"<p>{words['anything']}</p>"
    rows = "".join(
        f"<tr><td>{escape(str(each['name']))}</td><td>{each['datatype']}</td><td>{each['shape']}</td></tr>"
        for each in tensors
    )
    head = "".join(f"<th>{words[each]}</th>" for each in ("name", "type", "shape"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _commands(name: str, sample: Asked | None, headers: Mapping[bytes, bytes], *, locked: bool) -> str:
    """The request by curl, in MLflow's words and in those of the Open Inference Protocol."""
    site = "http://" + headers.get(b"host", b"localhost").decode("latin-1")
    path = quote(name, safe="")
    key = ' \\\n  -H "Authorization: Bearer $KEY"' if locked else ""
    bodies = (
        (f"{site}/endpoints/{path}/invocations", as_invocation(sample) if sample else {"inputs": []}),
        (f"{site}/v2/models/{path}/infer", as_tensors(sample) if sample else {"inputs": []}),
    )
    return "\n\n".join(
        f"curl {shlex.quote(url)}{key} \\\n  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(encode(body).decode())}"
        for url, body in bodies
    )


def _indented(document: object) -> str:
    return json.dumps(json.loads(encode(document)), indent=1, ensure_ascii=False)
