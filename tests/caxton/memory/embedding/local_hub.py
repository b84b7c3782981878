"""A model hub on this machine: the part of its protocol that ``huggingface_hub`` speaks."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["LocalHub", "local_hub"]

COMMIT = "c" * 40


class LocalHub:
    """Serves one folder as one model.

    Args:
        name: ``OWNER/MODEL``.
        folder: its files; the weights are large ones, which are elsewhere.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self.asked: list[tuple[str, str, str]] = []
        """Method, path and range of each request."""
        self.breaks: list[int] = []
        """After how many bytes of the weights the next connections break."""
        self.url = ""
        self.storage = ""
        """Address of where the weights are: another server, as it is for the real hub."""

    def ranges(self) -> list[str]:
        """Of the weights, as they were asked for."""
        return [
            range_ for method, path, range_ in self.asked if method == "GET" and "/cdn/" in path
        ]


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""

    def _answer(self, *, body: bool) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        hub.asked.append((self.command, path, self.headers.get("Range", "")))
        api = f"/api/models/{hub.name}"
        resolve = f"/{hub.name}/resolve/"
        if path in (api, f"{api}/revision/main"):
            siblings = [{"rfilename": name} for name in hub.files]
            shown = {"id": hub.name, "sha": COMMIT, "siblings": siblings, "private": False}
            self._send(json.dumps(shown).encode(), body, {"Content-Type": "application/json"})
        elif path.startswith(f"{api}/tree/"):
            rows = [
                {"type": "file", "path": name, "size": len(data), "oid": _etag(data)}
                for name, data in hub.files.items()
            ]
            self._send(json.dumps(rows).encode(), body, {"Content-Type": "application/json"})
        elif path.startswith(resolve):
            self._file(path.removeprefix(resolve).partition("/")[2], body)
        elif path.startswith("/cdn/"):
            self._part(hub.files[path.removeprefix("/cdn/")], body)
        else:
            missing = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            self._send(b"", body, missing, 404)

    def _file(self, name: str, body: bool) -> None:
        data = self.hub.files.get(name)
        if data is None:
            self._send(b"", body, {"X-Error-Code": "EntryNotFound"}, 404)
            return
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_etag(data)}"', "Accept-Ranges": "bytes"}
        if name.endswith(".safetensors"):
            # As for files in large file storage: the hash is the link's, the bytes are elsewhere.
            headers |= {
                "X-Linked-Size": str(len(data)),
                "X-Linked-ETag": f'"{hashlib.sha256(data).hexdigest()}"',
                "Location": f"{self.hub.storage}/cdn/{name}",
            }
            self._send(b"", body, headers, 302)
        else:
            self._send(data, body, headers)

    def _part(self, data: bytes, body: bool) -> None:
        given = self.headers.get("Range", "")
        start = int(given.removeprefix("bytes=").partition("-")[0]) if given else 0
        part = data[start:]
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{hashlib.sha256(data).hexdigest()}"'}
        if given:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if body and self.hub.breaks:
            sent = part[: self.hub.breaks.pop(0)]
            self._head(206 if given else 200, headers, len(part))
            self.wfile.write(sent)
            self.close_connection = True
            return
        self._send(part, body, headers, 206 if given else 200)

    def _head(self, status: int, headers: dict[str, str], length: int) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, data: bytes, body: bool, headers: dict[str, str], status: int = 200) -> None:
        self._head(status, headers, len(data))
        if body:
            self.wfile.write(data)


def _etag(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@contextmanager
def local_hub(name: str, folder: Path) -> Iterator[LocalHub]:
    """A hub that answers until the end of the block."""
    hub = LocalHub(name, folder)
    handler = type("Handler", (_Handler,), {"hub": hub})
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
    hub.url, hub.storage = (f"http://127.0.0.1:{one.server_address[1]}" for one in servers)
    threads = [threading.Thread(target=one.serve_forever) for one in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join(20)
            server.server_close()
