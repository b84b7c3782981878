"""The file of MCP servers, in the shape users have it: ``{"mcpServers": {NAME: {...}}}``.

Values may name environment variables (``${NAME}``, ``${NAME:-default}``). What they hold, and all
of ``env`` and ``headers``, is secret: no error and no log line shows it. This module imports
nothing of the SDK.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlsplit

import orjson

from caxton.config import Config
from caxton.errors import ConfigInvalid

__all__ = ["Redactor", "ServerEntry", "read_server_file", "read_servers", "server_names"]

MAX_FILE: Final = 1024 * 1024
MAX_SERVERS: Final = 64
MAX_TEXT: Final = 4_096
MAX_ARGS: Final = 256
SHORTEST_SECRET: Final = 6
"""Shorter values are words such as ``true``: taking them out would make logs unreadable."""
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]|_(?!_)){0,31}")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_HTTP: Final = frozenset({"http", "streamable-http", "streamableHttp", "streamable_http"})
_KNOWN: Final = frozenset(
    {"type", "transport", "command", "args", "env", "cwd", "url", "headers", "disabled", "timeout"}
)


@dataclass(frozen=True, slots=True)
class ServerEntry:
    """One server, with its variables filled in."""

    name: str
    kind: Literal["stdio", "http"]
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str = ""
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    """Texts that no error and no log line may show."""
    ignored: tuple[str, ...] = ()
    """Keys that mean nothing here."""

    @property
    def place(self) -> str:
        """Where it is, without what may be secret: the program's name, or scheme and host."""
        if self.kind == "stdio":
            return Path(self.command).name
        parts = urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}"


class Redactor:
    """Takes secrets out of texts.

    Args:
        secrets: what must not be seen; those shorter than ``SHORTEST_SECRET`` are no secrets.
    """

    def __init__(self, secrets: frozenset[str]) -> None:
        # The longest first: one may be a part of another.
        long = sorted((one for one in secrets if len(one) >= SHORTEST_SECRET), key=len)[::-1]
        self._pattern = re.compile("|".join(map(re.escape, long))) if long else None

    def __call__(self, text: str) -> str:
        """``text`` with ``***`` in place of each secret."""
        return self._pattern.sub("***", text) if self._pattern else text


def servers_path(config: Config) -> Path | None:
    """The file of servers; None when none is set."""
    given = config.mcp_servers
    return config.workspace / Path(given).expanduser() if given else None


def read_servers(config: Config) -> tuple[ServerEntry, ...]:
    """The servers that are configured and not disabled.

    Raises:
        ConfigInvalid: the file is not there or not right.
    """
    path = servers_path(config)
    return read_server_file(path, os.environ) if path is not None else ()


def server_names(config: Config) -> tuple[str, ...]:
    """The names of the servers that are configured; none when their file cannot be read now."""
    try:
        return tuple(entry.name for entry in read_servers(config))
    except ConfigInvalid:
        # The node does not start with such a file; one that broke since is told by the process
        # that needs what is in it.
        return ()


def read_server_file(path: Path, env: Mapping[str, str]) -> tuple[ServerEntry, ...]:
    """The servers of a file that are not disabled.

    Args:
        path: the file.
        env: the environment that variables are taken from.

    Raises:
        ConfigInvalid: the file is not there or not right; it names the server and the key.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise _wrong(path, "file", f"more than {MAX_FILE:,} bytes", f"{MAX_FILE:,} bytes")
        body = orjson.loads(data)
    except OSError as error:
        raise _wrong(path, "file", error.strerror or str(error), "a readable file") from error
    except orjson.JSONDecodeError as error:
        raise _wrong(path, "file", f"not JSON: {error}", "JSON") from error
    servers = body.get("mcpServers") if isinstance(body, dict) else None
    if not isinstance(servers, dict):
        raise _wrong(path, "mcpServers", "missing", "an object of servers by name")
    if len(servers) > MAX_SERVERS:
        raise _wrong(path, "mcpServers", f"{len(servers)} servers", f"at most {MAX_SERVERS}")
    found = []
    for name, value in servers.items():
        if not _NAME.fullmatch(name):
            raise _wrong(
                path, name[:40], "a wrong name", "1 to 32 letters, digits, `-`, `_`, and no `__`"
            )
        if not isinstance(value, dict):
            raise _wrong(path, name, type(value).__name__, "an object")
        if value.get("disabled") is not True:
            found.append(_Reader(path, name, value, env).entry())
    return tuple(found)


def _wrong(path: Path, key: str, value: str, allowed: str) -> ConfigInvalid:
    return ConfigInvalid(
        field="mcp.servers", value=f"{key}: {value}", allowed=allowed, origin=str(path)
    )


class _Reader:
    """Reads one server."""

    def __init__(
        self, path: Path, name: str, value: Mapping[str, Any], env: Mapping[str, str]
    ) -> None:
        self._path = path
        self._name = name
        self._value = value
        self._env = env
        self._secrets: set[str] = set()

    def entry(self) -> ServerEntry:
        """The server."""
        kind = self._kind()
        ignored = tuple(sorted(str(key) for key in self._value if key not in _KNOWN))
        if kind == "http":
            url = self._url()
            headers = self._map("headers", _header)
            return ServerEntry(
                self._name, kind, url=url, headers=headers,
                secrets=frozenset(self._secrets), ignored=ignored,
            )  # fmt: skip
        folder = self._path.absolute().parent
        cwd = folder / Path(self._text("cwd", "")).expanduser()
        command = self._text("command")
        if "/" in command:
            command = str(folder / Path(command).expanduser())
        args = self._value.get("args", [])
        if not isinstance(args, list) or len(args) > MAX_ARGS:
            raise self._refuse("args", "not a list", f"a list of at most {MAX_ARGS} texts")
        given = tuple(self._expand(one, f"args[{at}]") for at, one in enumerate(args))
        env = self._map("env", _plain)
        return ServerEntry(
            self._name, kind, command, given, env, str(cwd),
            secrets=frozenset(self._secrets), ignored=ignored,
        )  # fmt: skip

    def _kind(self) -> Literal["stdio", "http"]:
        given = self._value.get("type", self._value.get("transport"))
        if given is None:
            given = "http" if "url" in self._value and "command" not in self._value else "stdio"
        if given == "stdio":
            return "stdio"
        if given in _HTTP:
            return "http"
        if given == "sse":
            raise self._refuse("type", "sse, which MCP has given up", "stdio or http")
        raise self._refuse("type", str(given)[:40], "stdio or http")

    def _refuse(self, key: str, value: str, allowed: str) -> ConfigInvalid:
        return _wrong(self._path, f"{self._name}.{key}", value, allowed)

    def _text(self, key: str, default: str | None = None) -> str:
        value = self._value.get(key, default)
        if value is None or (value == "" and default is None):
            raise self._refuse(key, "missing", "text")
        return self._expand(value, key)

    def _expand(self, value: Any, key: str) -> str:
        if not isinstance(value, str) or len(value) > MAX_TEXT or "\0" in value:
            raise self._refuse(
                key, type(value).__name__, f"text of at most {MAX_TEXT:,} characters"
            )

        def filled(match: re.Match[str]) -> str:
            name, default = match[1], match[2]
            found = self._env.get(name) or default
            if found is None:
                raise self._refuse(
                    key,
                    f"the variable {name} is not set",
                    f"a set variable, or ${{{name}:-default}}",
                )
            if name in self._env:
                self._secrets.add(found)
            return found

        return _VARIABLE.sub(filled, value)

    def _map(self, key: str, secrets: Callable[[str], set[str]]) -> dict[str, str]:
        given = self._value.get(key, {})
        if not isinstance(given, dict):
            raise self._refuse(key, type(given).__name__, "an object of texts")
        found = {}
        for name, value in given.items():
            if not name or "=" in name or "\0" in name or "\n" in name:
                raise self._refuse(key, "a wrong name", "names of variables or headers")
            found[name] = text = self._expand(value, f"{key}.{name}")
            self._secrets |= secrets(text)
        return found

    def _url(self) -> str:
        url = self._text("url")
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise self._refuse("url", "not an http or https URL", "a URL with a host")
        self._secrets |= {one for one in (parts.username, parts.password) if one}
        self._secrets |= {text for _, text in parse_qsl(parts.query)}
        return url


def _plain(text: str) -> set[str]:
    return {text}


def _header(text: str) -> set[str]:
    """A header's value, and what follows its scheme (``Bearer``)."""
    return {text, text.partition(" ")[2] or text}
