"""What a node depends on and offers: language model, tools, the running node, its port."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from caxton.cli.doctor.check import Check, Surroundings, fail, ok, warn
from caxton.cli.invocation import read_announcement
from caxton.config import Config, Secret
from caxton.errors import CaxtonError, NodeUnreachable

__all__ = ["check_llm", "check_mcp", "check_node", "check_ports", "check_tools"]

LLM_DEADLINE_S: Final = 2.0
NODE_DEADLINE_S: Final = 3.0
COMPILE_DEADLINE_S: Final = 60.0


def check_llm(around: Surroundings) -> Iterator[Check]:
    """Which provider answers, and whether its server does."""
    if around.loaded is None:
        return
    config = around.loaded.config
    if config.provider_name == "rules":
        yield ok(
            "provider",
            "rules: no language model; picks a tool by fixed rules and says so in its answers",
            "for a model set llm.base_url and llm.model, or OPENAI_BASE_URL and OPENAI_API_KEY",
        )
        return
    yield ok("provider", f"{config.provider_name}  model {config.llm_model or '(server default)'}")
    if config.provider_name == "openai":
        yield from _server(config)


def _server(config: Config) -> Iterator[Check]:
    import httpx2

    base = (config.llm_base_url or "https://api.openai.com/v1").rstrip("/")
    key = config.llm_api_key
    secret = key.reveal() if isinstance(key, Secret) else key
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    try:
        answer = httpx2.get(f"{base}/models", headers=headers, timeout=LLM_DEADLINE_S)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        yield fail("base URL", f"{base}: {reason}", "start the server, or correct llm.base_url")
        return
    if answer.status_code in (401, 403):
        yield fail("key", f"{base} refuses it ({answer.status_code})", "correct llm.api_key")
        return
    if answer.status_code >= 500:
        yield warn("base URL", f"{base} answers {answer.status_code}", "look at that server's log")
        return
    yield ok("base URL", f"{base} answers {answer.status_code}")
    models = _models(answer)
    if config.llm_model and models and config.llm_model not in models:
        yield warn(
            "model",
            f"{config.llm_model} is not among the {len(models)} models there",
            f"set llm.model, such as {models[0]}",
        )


def _models(answer: Any) -> list[str]:
    """The ids that ``/models`` lists; none when the answer is of another form."""
    try:
        body = answer.json()
    except ValueError:
        return []
    listed = body.get("data") if isinstance(body, dict) else None
    return [str(one["id"]) for one in listed or () if isinstance(one, dict) and "id" in one]


def check_tools(_: Surroundings) -> Iterator[Check]:
    """Each built-in module: present, unchanged, compiles."""
    from caxton.tools.catalog import ToolCatalog

    try:
        catalog = ToolCatalog.builtin()
    except CaxtonError as error:
        yield fail("catalog", error.detail, "install again")
        return
    for name in catalog.names:
        spec = catalog.get(name)
        if spec is None:
            continue
        data = spec.module.read_bytes()
        if hashlib.sha256(data).hexdigest() != spec.sha256:
            yield fail(name, "the module is not the one that was built", "scripts/build-tools")
            continue
        reason = compile_failure(data)
        if reason:
            yield fail(name, f"does not compile: {reason}", "caxton doctor install")
        else:
            yield ok(name, f"{len(data):,} bytes, hash as recorded, compiles")


def compile_failure(data: bytes) -> str:
    """Why a module does not compile here; empty when it does."""
    from sandbox import Sandbox, SandboxError

    async def compile_once(folder: Path) -> None:
        async with Sandbox(folder) as sandbox:
            await asyncio.wait_for(sandbox.prepare(data), COMPILE_DEADLINE_S)

    with tempfile.TemporaryDirectory(prefix="caxton-doctor-") as folder:
        try:
            asyncio.run(compile_once(Path(folder) / "cache"))
        except TimeoutError:
            return f"no result within {COMPILE_DEADLINE_S:g} s"
        except (SandboxError, OSError) as error:
            return str(error)
    return ""


def check_mcp(around: Surroundings) -> Iterator[Check]:
    """What MCP clients may do here, and the MCP servers whose tools agents may list."""
    from caxton.mcp.policy import read_policy
    from caxton.mcp.server_file import read_servers

    if around.loaded is None:
        return
    config = around.loaded.config
    try:
        read_policy(config)
        servers = read_servers(config)
    except CaxtonError as error:
        yield fail("files", error.detail, "correct the file, or empty the setting")
        return
    if not config.mcp_enabled:
        yield ok("/mcp", "off (mcp.enabled)")
    elif not config.loopback and not config.mcp_token:
        yield warn("/mcp", f"refuses everybody on {config.host}: no token", "set mcp.token")
    else:
        asks = "asks for a token" if config.mcp_token else "open to programs of this machine"
        reach = "tools reach nothing" if not config.mcp_permissions else "grants from a file"
        yield ok("/mcp", f"{asks}; offers {config.mcp_tools}; {reach}")
    for server in servers:
        found = server.kind == "http" or shutil.which(server.command) is not None
        told = f"{server.kind} {server.place}, not sandboxed"
        if found:
            yield ok(server.name, told, "caxton mcp ls shows whether it is connected")
        else:
            yield fail(server.name, f"{told}: not installed", "install it, or correct `command`")


def check_node(around: Surroundings) -> Iterator[Check]:
    """The running node, if there is one."""
    from caxton.cli.commands.status import troubles

    try:
        with around.invocation.client(NODE_DEADLINE_S) as client:
            node = client.node()
            agents = list(client.agents())
    except NodeUnreachable as error:
        if around.invocation.url is None and read_announcement(around.invocation.folder) is None:
            yield ok("node", "none runs here", "start one: caxton serve --agents FOLDER")
        else:
            yield fail("node", error.detail, "caxton serve, or correct --url and --data")
        return
    except CaxtonError as error:
        yield fail("node", error.detail, error.remedy)
        return
    yield ok("node", f"{node.state} at {node.url}, version {node.version}, pid {node.pid}")
    restarts = sum(process.restarts for process in node.processes)
    if restarts:
        yield warn("restarts", f"{restarts} since the start", "the node's log says why")
    pending = sum(shard.pending for shard in node.shards)
    yield ok("pending", f"{pending:,} messages accepted and not yet handled")
    for level, text in troubles(node, agents):
        if level == "fail":
            yield fail("trouble", text, "caxton monitor")
        else:
            yield warn("trouble", text, "caxton monitor")


def check_ports(around: Surroundings) -> Iterator[Check]:
    """Whether the API's port is free, or ours."""
    if around.loaded is None:
        return
    config = around.loaded.config
    name = f"port {config.port}"
    if config.port == 0:
        yield ok("port", "any free one")
        return
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.host, config.port))
        except OSError as error:
            announced = read_announcement(around.invocation.folder)
            if announced is not None and announced.url.endswith(f":{config.port}"):
                yield ok(name, f"used by the node with pid {announced.pid}")
            else:
                yield warn(
                    name, f"{config.host}: {error.strerror}", "--port with another, or 0 for any"
                )
            return
    yield ok(name, f"free on {config.host}")
