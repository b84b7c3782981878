"""The pages at ``/docs`` and ``/docs/errors``: static, with nothing from elsewhere.

Their Content-Security-Policy allows the one script and the one style below by hash, and requests
to this node only.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html

from caxton.errors import ERRORS

__all__ = ["DOCS", "DOCS_HEADERS", "errors_page"]

_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2rem; font-size: 1.1rem }
code, pre { font-family: ui-monospace, monospace; background: #8882; border-radius: 4px }
code { padding: .1rem .3rem }
pre { padding: .8rem; overflow: auto }
"""

_SCRIPT = """
const element = (tag, ...children) => {
  const node = document.createElement(tag); node.append(...children); return node;
};
const shown = schema => schema.$ref ? schema.$ref.split("/").pop()
  : schema.pattern || (schema.enum || []).join(", ") || schema.format || schema.type || "";
fetch("/openapi.json").then(reply => reply.json()).then(api => {
  const main = document.getElementById("routes");
  main.replaceChildren();
  for (const [path, methods] of Object.entries(api.paths))
    for (const [method, what] of Object.entries(methods)) {
      main.append(element("h2", element("code", method.toUpperCase() + " " + path)),
        element("p", what.summary));
      const list = element("ul");
      for (const one of what.parameters)
        list.append(element("li", one.in + " ", element("code", one.name),
          ": " + one.description + " (" + shown(one.schema) + ")"));
      if (what.requestBody)
        for (const [media, body] of Object.entries(what.requestBody.content))
          list.append(element("li", "body " + media + ": " + shown(body.schema)));
      for (const [status, one] of Object.entries(what.responses))
        list.append(element("li", element("code", status), " " + one.description + ": " +
          Object.entries(one.content).map(([media, body]) => media + " " + shown(body.schema))
            .join(", ")));
      main.append(list);
    }
  main.append(element("h2", "Types"));
  for (const [name, schema] of Object.entries(api.components.schemas))
    main.append(element("details", element("summary", element("code", name)),
      element("pre", JSON.stringify(schema, null, 2))));
}).catch(error => {
  document.getElementById("routes").textContent = "The description could not be read: " + error;
});
"""

_HEAD = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Caxton API</title>
<style>{_STYLE}</style>
</head>
<body>
"""

DOCS = f"""{_HEAD}<h1>Caxton API</h1>
<p>Errors are problem documents (RFC 9457) with <a href="/docs/errors">these codes</a>. For
programs, this page is <a href="/openapi.json">/openapi.json</a>.</p>
<main id="routes">Reading the description. Without scripts, see
<a href="/openapi.json">/openapi.json</a>.</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


DOCS_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}


@functools.cache
def errors_page() -> str:
    """The page that a problem document's ``type`` points into."""
    rows = [_HEAD, '<h1>Errors</h1>\n<p>Each has a stable code. <a href="/docs">API</a></p>\n']
    for code, error in sorted(ERRORS.items()):
        again = "Trying again can help." if error.retryable else ""
        what = (error.__doc__ or error.title).strip().splitlines()[0]
        rows.append(
            f'<h2 id="{code}"><code>{code}</code> {error.status}, {html.escape(error.title)}</h2>\n'
            f"<p>{html.escape(what)}</p>\n<pre>{html.escape(error.text)}</pre>\n"
            f"<p>{html.escape(error.remedy)} {again}</p>\n"
        )
    rows.append("</body>\n</html>\n")
    return "".join(rows)
