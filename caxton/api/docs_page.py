"""The page at ``/docs``: renders the OpenAPI document with nothing from elsewhere."""

from __future__ import annotations

__all__ = ["PAGE"]

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Caxton API</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff }
h2 { margin-top: 2rem; font-size: 1.1rem }
code, pre { font-family: ui-monospace, monospace; background: #f3f3f3; border-radius: 4px }
code { padding: .1rem .3rem }
pre { padding: .8rem; overflow: auto }
b.get { color: #0a6 } b.post { color: #06c }
</style>
</head>
<body>
<h1>Caxton API</h1>
<p>Errors are problem documents (RFC 9457). The machine-readable form of this page is
<a href="/openapi.json">/openapi.json</a>.</p>
<main id="routes">Loading…</main>
<script>
const text = (tag, value, kind) => {
  const node = document.createElement(tag); node.textContent = value;
  if (kind) node.className = kind; return node;
};
fetch("/openapi.json").then(reply => reply.json()).then(api => {
  const main = document.getElementById("routes"); main.textContent = "";
  for (const [path, methods] of Object.entries(api.paths))
    for (const [method, what] of Object.entries(methods)) {
      const head = document.createElement("h2");
      head.append(text("b", method.toUpperCase() + " ", method), text("code", path));
      main.append(head, text("p", what.summary));
      const list = document.createElement("ul");
      for (const one of what.parameters)
        list.append(text("li", one.in + " " + one.name + ": " + (one.description || "")));
      list.append(text("li", "answers " + Object.keys(what.responses).join(", ")));
      main.append(list);
    }
  main.append(text("h2", "Types"),
    text("pre", JSON.stringify(api.components.schemas, null, 2)));
});
</script>
</body>
</html>
"""
