"""The server that the conformance suite is run against: a node's own ``/mcp``, and the suite's
fixtures (tools and resources with the names and contents that it looks for) among its offers."""

from __future__ import annotations

import asyncio
import base64
import struct
import sys
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError

from caxton.config import Config
from caxton.mcp import serving
from caxton.mcp.local_offer import LocalOffer
from caxton.node import Node
from caxton.tools.catalog import ToolSpec

ROOT = Path(__file__).resolve().parent.parent.parent
EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
SCHEMA_2020: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
HEADERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "query": {"type": "string"},
    },
}


def png() -> str:
    """A picture of one pixel."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0\xff\0\0")
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()


def wav() -> str:
    """A sound of four samples."""
    body = bytes(4)
    head = b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8_000, 8_000, 1, 8)
    rest = head + b"data" + struct.pack("<I", len(body)) + body
    return base64.b64encode(b"RIFF" + struct.pack("<I", len(rest)) + rest).decode()


def text(said: str) -> types.TextContent:
    return types.TextContent(type="text", text=said)


def image() -> types.ImageContent:
    return types.ImageContent(type="image", data=png(), mime_type="image/png")


def embedded(uri: str, said: str, media: str = "text/plain") -> types.EmbeddedResource:
    inner = types.TextResourceContents(uri=uri, mime_type=media, text=said)
    return types.EmbeddedResource(type="resource", resource=inner)


RESULTS: dict[str, list[Any]] = {
    "test_simple_text": [text("This is a simple text response for testing.")],
    "test_image_content": [image()],
    "test_audio_content": [types.AudioContent(type="audio", data=wav(), mime_type="audio/wav")],
    "test_embedded_resource": [
        embedded("test://embedded-resource", "This is an embedded resource content.")
    ],
    "test_multiple_content_types": [
        text("Multiple content types test:"),
        image(),
        embedded("test://mixed-content-resource", '{"test":"data","value":123}',
                 "application/json"),
    ],
    "json_schema_2020_12_tool": [text("done")],
    "test_x_mcp_header": [text("done")],
    "test_streaming_elicitation": [text("done")],
    "test_logging_tool": [text("done")],
}  # fmt: skip
STATIC: dict[str, types.TextResourceContents | types.BlobResourceContents] = {
    "test://static-text": types.TextResourceContents(
        uri="test://static-text",
        mime_type="text/plain",
        text="This is the content of the static text resource.",
    ),
    "test://static-binary": types.BlobResourceContents(
        uri="test://static-binary", mime_type="image/png", blob=png()
    ),
}


def tool(name: str, schema: dict[str, Any] = EMPTY) -> types.Tool:
    return types.Tool(name=name, description=f"Fixture {name}", input_schema=schema)


OTHERS = (
    "test_error_handling", "test_tool_with_progress", "test_missing_capability",
    "test_trigger_tool_change",
)  # fmt: skip


class FixtureOffer(LocalOffer):
    """A node's offer, and the fixtures."""

    async def tools(self) -> Sequence[types.Tool]:
        schemas = {"json_schema_2020_12_tool": SCHEMA_2020, "test_x_mcp_header": HEADERS}
        names = [*RESULTS, *OTHERS]
        fixtures = [tool(name, schemas.get(name, EMPTY)) for name in names]
        return [*await super().tools(), *fixtures]

    def schema(self, name: str) -> Any:
        return HEADERS if name == "test_x_mcp_header" else super().schema(name)

    async def call(
        self, name: str, arguments: dict[str, Any], report: Any, request: Any
    ) -> types.CallToolResult:
        if name in RESULTS:
            return types.CallToolResult(content=RESULTS[name])
        if name == "test_error_handling":
            said = "This tool intentionally returns an error for testing"
            return types.CallToolResult(content=[text(said)], is_error=True)
        if name == "test_tool_with_progress":
            for done in (0, 50, 100) if report else ():
                await report(done, 100, f"{done} of 100")
                await asyncio.sleep(0.05)
            return types.CallToolResult(content=[text("done")])
        if name == "test_missing_capability":
            needed = {"requiredCapabilities": {"sampling": {}}}
            raise MCPError(-32021, "This tool needs sampling", needed)
        if name == "test_trigger_tool_change":
            # As a tool that comes with a server: the node's own way tells the clients.
            more = f"one_more_{self.parts.catalog.revision}"
            self.parts.catalog.put("fixture", [ToolSpec(more, "Changes", EMPTY, source="fixture")])
            return types.CallToolResult(content=[text("done")])
        return await super().call(name, arguments, report, request)

    async def resources(self) -> Sequence[types.Resource]:
        own = [
            types.Resource(uri=uri, name=uri.partition("//")[2], mime_type=one.mime_type)
            for uri, one in STATIC.items()
        ]
        return [*own, *await super().resources()]

    async def templates(self) -> Sequence[types.ResourceTemplate]:
        one = types.ResourceTemplate(uri_template="test://template/{id}/data", name="template")
        return [one, *await super().templates()]

    async def read(self, uri: str) -> types.ReadResourceResult:
        if uri in STATIC:
            return types.ReadResourceResult(contents=[STATIC[uri]])
        if uri.startswith("test://template/") and uri.endswith("/data"):
            said = f'{{"id":"{uri.split("/")[3]}","templateTest":true}}'
            one = types.TextResourceContents(uri=uri, mime_type="application/json", text=said)
            return types.ReadResourceResult(contents=[one])
        return await super().read(uri)


async def main() -> None:
    """Serve until standard input ends; the first line out is the URL."""
    serving.LocalOffer = FixtureOffer  # type: ignore[misc]  # the fixtures go into the real server
    with tempfile.TemporaryDirectory(prefix="caxton-conformance-") as folder:
        config = Config(
            agents=ROOT / "examples" / "agents", workspace=ROOT / "examples",
            data=Path(folder) / "data", port=0, shards=0, llm_provider="rules", watch=False,
        )  # fmt: skip
        async with Node(config, api=True) as node:
            print(node.url, flush=True)
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
