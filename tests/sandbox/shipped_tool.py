"""A shipped tool, run from its committed module on one folder, for the tests of each tool."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from sandbox import FolderGrant, Grants, Limits
from sandbox.services.request import Ask, nobody
from sandbox.wasmtime_engine import WasmtimeEngine

BUILTIN = Path(__file__).resolve().parents[2] / "caxton/tools/builtin"


def module_of(name: str) -> bytes:
    """The committed module of a tool."""
    return (BUILTIN / name / f"{name}.wasm").read_bytes()


class ShippedTool:
    """A tool in this process. ``folder`` is granted as ``data``, for writing too by default.

    ``host`` answers its questions.
    """

    def __init__(self, engine: WasmtimeEngine, artifact: Path, folder: Path) -> None:
        self.folder = folder
        self.grants = Grants(folders=(FolderGrant(folder, "data", write=True),))
        self.limits = Limits.for_command()
        self.host: Ask = nobody
        self.exit_code = 0
        self.fuel_used = 0
        self.printed = ""
        self._engine = engine
        self._artifact = artifact

    @classmethod
    def compiled(cls, name: str, folder: Path) -> tuple[WasmtimeEngine, Path]:
        """The engine and the compiled module, to make once for many tests."""
        engine = WasmtimeEngine()
        artifact = folder / f"{name}.artifact"
        artifact.write_bytes(engine.compile(module_of(name)).code)
        return engine, artifact

    def raw(self, stdin: bytes, *args: str) -> dict[str, Any]:
        """What it prints for an input: always one JSON object, an error exactly on exit code 1."""
        got = self._engine.run_command(
            self._artifact,
            stdin=stdin,
            limits=self.limits,
            grants=self.grants,
            args=args,
            ask=self.host,
        )
        self.exit_code = got.exit_code
        self.fuel_used = got.fuel_used
        assert got.stderr == b""
        self.printed = got.stdout.decode()
        answer: dict[str, Any] = json.loads(self.printed)
        assert ("error" in answer) == (got.exit_code == 1)
        return answer

    def ask(self, **arguments: object) -> dict[str, Any]:
        """What it answers for arguments; an error is a failure."""
        answer = self.raw(json.dumps(arguments).encode())
        assert "error" not in answer, answer
        return answer

    def error(self, **arguments: object) -> tuple[str, str]:
        """The error's code and message."""
        error: dict[str, str] = self.raw(json.dumps(arguments).encode())["error"]
        assert error["message"]
        return error["code"], error["message"]

    def code(self, **arguments: object) -> str:
        """The error's code."""
        return self.error(**arguments)[0]


def check_description(tool: ShippedTool, name: str) -> None:
    """--describe prints tool.json, whose schema says all of each argument; the hash is right."""
    folder = BUILTIN / name
    described = tool.raw(b"", "--describe")
    assert described == json.loads((folder / "tool.json").read_text())
    assert set(described) == {"name", "description", "inputSchema"}
    schema = described["inputSchema"]
    assert described["name"] == name
    assert schema["additionalProperties"] is False
    assert all(rule["description"] for rule in schema["properties"].values())
    Draft202012Validator.check_schema(schema)
    assert tool.raw(b"", "--help")["error"]["code"] == "bad_argument"
    digest = hashlib.sha256(module_of(name)).hexdigest()
    assert (folder / f"{name}.wasm.sha256").read_text() == f"{digest}  {name}.wasm\n"
