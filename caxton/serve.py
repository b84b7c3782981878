"""Serving: the supervisor process as people start it, with its banner, signals and exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import orjson
from rich.console import Console
from rich.text import Text

from caxton import __version__
from caxton.config import Config, Secret
from caxton.errors import (
    AddressInUse,
    CaxtonError,
    ConfigurationError,
    StorageError,
    error_from_code,
)
from caxton.node import Node
from caxton.observe.logs import start_logging
from caxton.views import AgentView, NodeView

__all__ = ["EXIT_ADDRESS", "EXIT_CONFIG", "EXIT_GAVE_UP", "EXIT_STORAGE", "exit_code", "serve"]

EXIT_GAVE_UP = 70
"""A process failed so often that the supervisor gave up (EX_SOFTWARE)."""
EXIT_STORAGE = 74
"""The data folder cannot be used (EX_IOERR)."""
EXIT_CONFIG = 78
"""The configuration is wrong (EX_CONFIG)."""
EXIT_ADDRESS = 98
"""The API's address is in use (EADDRINUSE)."""

_ENV = "CAXTON_SERVE_DETACHED"


def exit_code(error: CaxtonError) -> int:
    """The exit code that tells why a node did not start."""
    if isinstance(error, AddressInUse):
        return EXIT_ADDRESS
    if isinstance(error, StorageError):
        return EXIT_STORAGE
    if isinstance(error, ConfigurationError):
        return EXIT_CONFIG
    return EXIT_GAVE_UP


def serve(config: Config, *, detach: bool = False) -> int:
    """Run a node until it is told to stop; returns the exit code.

    With ``detach`` the node runs on in a session of its own, and this returns once it is ready.

    Raises:
        CaxtonError: it could not start.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    config = config.absolute()
    if detach:
        return _detached(config, console)
    return asyncio.run(_serve(config, console))


async def _serve(config: Config, console: Console) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    started = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    with _progress(console, "starting"):
        node = Node(config, api=True)
        loop.add_signal_handler(signal.SIGUSR1, node.dump)
        starting = loop.create_task(node.__aenter__())
        stopping = loop.create_task(stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
            return 0
        stopping.cancel()
        await starting
    start_logging(config, "supervisor", console=True)
    _banner(console, await node.status(), await node.agents(), time.monotonic() - started)
    failed = loop.create_task(node.wait_failed())
    stopping = loop.create_task(stop.wait())
    await asyncio.wait({failed, stopping}, return_when=asyncio.FIRST_COMPLETED)
    gave_up = failed.done()
    failed.cancel()
    stopping.cancel()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _forced, console)
    with _progress(console, "draining (again to force)"):
        await node.stop()
    _say(console, "stopped", "stopped")
    return EXIT_GAVE_UP if gave_up else 0


def _forced(console: Console) -> None:
    """The second signal: no more waiting. Children end when their supervisor is gone."""
    console.print("forced")
    os._exit(130)


def _progress(console: Console, text: str) -> contextlib.AbstractContextManager[object]:
    """A spinner on a terminal; nothing elsewhere."""
    return console.status(text) if console.is_terminal else contextlib.nullcontext()


def _say(console: Console, event: str, text: str) -> None:
    """A line for people on a terminal, a JSON line for programs elsewhere."""
    if console.is_terminal:
        console.print(text)
    else:
        sys.stderr.write(orjson.dumps({"event": event, "message": text}).decode() + "\n")
        sys.stderr.flush()


def _banner(console: Console, view: NodeView, agents: list[AgentView], took_s: float) -> None:
    failed = [one for one in agents if one.reload.state == "failed"]
    loaded = len(agents) - len([one for one in failed if not one.version])
    lines = [
        ("", f"caxton {__version__}  node {view.id[:8]}  durability {view.durability}"),
        ("api", f"{view.url}  docs {view.url}/docs"),
        ("data", f"{view.data}  log {view.data}/logs/caxton.log"),
        ("shards", f"{len(view.shards)} ready"),
        ("agents", f"{loaded} loaded from {view.agents_folder}"),
    ]
    lines += [("", f"  failed: {one.reload.detail}") for one in failed]
    hint = ""
    if view.provider == "rules":
        hint = " (no language model configured: set llm.base_url; see `caxton doctor`)"
    lines.append(("model", f"{view.provider}{hint}"))
    lines += [("warning", warning) for warning in view.warnings]
    if not console.is_terminal:
        ready = {
            "event": "ready",
            "url": view.url,
            "data": view.data,
            "agents_folder": view.agents_folder,
            "agents": loaded,
            "failed": [one.reload.detail for one in failed],
            "provider": view.provider,
            "durability": view.durability,
            "warnings": list(view.warnings),
            "pid": view.pid,
            "took_ms": round(took_s * 1_000),
        }
        sys.stderr.write(orjson.dumps(ready).decode() + "\n")
        sys.stderr.flush()
        if os.environ.get(_ENV):
            # Nobody reads the starter's pipe from here on.
            os.dup2(1, 2)
        return
    for label, text in lines:
        console.print(Text(f"  {label:<9}", "bold") + Text(text) if label else Text(text))
    console.print(
        f"ready in {took_s:.1f} s   watch: caxton monitor   "
        'try: caxton send --to Greeter "who are you?"   stop: Ctrl-C'
    )


# --- detached --------------------------------------------------------------------------------


def _detached(config: Config, console: Console) -> int:
    """Start this module in a session of its own and wait until it is ready."""
    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    output = config.data / "logs" / "serve.log"
    if not any(config.data.iterdir()) or (config.data / "run").is_dir():
        output.parent.mkdir(mode=0o700, exist_ok=True)
    else:
        # Let the node itself say what is wrong with this folder.
        output = Path(os.devnull)
    with output.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "caxton.serve"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, _ENV: "1"},
        )
    if process.stdin is None or process.stderr is None:
        raise RuntimeError("the pipes of a new process are open")
    process.stdin.write(_encode(config))
    process.stdin.close()
    with _progress(console, "starting"):
        line = process.stderr.readline()
    process.stderr.close()
    if b'"ready"' in line:
        ready = orjson.loads(line)
        console.print(
            f"node with pid {process.pid} is ready at {ready['url']}  "
            f"agents {ready['agents']} from {ready['agents_folder']}  "
            f"data {ready['data']}  model {ready['provider']}"
        )
        for failure in ready["failed"]:
            console.print(f"  failed: {failure}")
        console.print("watch: caxton monitor   stop: caxton stop")
        # It runs on by itself; this process does not wait for it.
        process.returncode = 0
        return 0
    code = process.wait(config.start_timeout_ms / 1_000 + config.shutdown_timeout_ms / 1_000)
    if b'"failed"' in line:
        failed = orjson.loads(line)
        raise error_from_code(failed["code"], failed["fields"])
    console.print(f"the node ended with exit code {code}; see {output}")
    return code or EXIT_GAVE_UP


def _encode(config: Config) -> bytes:
    fields = {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in msgspec.structs.asdict(config).items()
    }
    return msgspec.msgpack.encode(fields, enc_hook=os.fspath)


def _detached_main() -> int:
    config = Config(**msgspec.msgpack.decode(sys.stdin.buffer.read()))
    try:
        return serve(config)
    except CaxtonError as error:
        line = {"event": "failed", "code": error.code, "fields": error.fields}
        sys.stderr.write(f"{orjson.dumps(line, default=str).decode()}\n")
        return exit_code(error)


if __name__ == "__main__":
    sys.exit(_detached_main())
