"""One call from the command line: which tool a name means, and what is allowed by options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from caxton.errors import ToolInvalid, ToolNotFound, ValidationError
from caxton.tools.catalog import ToolCatalog
from caxton.tools.loading import LoadedTool
from caxton.tools.tool_files import ToolFiles, files_of, find_tools

if TYPE_CHECKING:
    from caxton.config import Config
    from caxton.tools.workbench import Workbench

__all__ = ["Allowed", "find_tool"]

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Allowed:
    """What options allow, in the words of an agent file's ``permissions``."""

    permissions: Mapping[str, Any] = field(default_factory=dict)
    databases: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    workspace: Path = Path()
    policy: Path | None = None
    """All that it asks for is granted."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Fields of ``sandbox.Limits`` that were given."""

    @classmethod
    def of_options(
        cls, given: Mapping[str, Any], environment: Mapping[str, str], timeout_s: float | None
    ) -> Self:
        """Read the options of ``caxton tool call``.

        Raises:
            ValidationError: one of them is not as it should be.
        """
        files = {}
        for text in given["allow_folder"]:
            folder, _, mode = text.rpartition(":") if text.endswith((":ro", ":rw")) else (
                text, "", "ro",
            )  # fmt: skip
            files[folder.rstrip("/") or "/"] = mode
        databases = {}
        for text in given["allow_database"]:
            name, sign, source = text.partition("=")
            if not sign or not source:
                raise ValidationError(
                    field="--allow-database", value=name, allowed="NAME=FILE or NAME:rw=FILE"
                )
            databases[name] = source
        limits = {
            "fuel": given["fuel"],
            "memory_bytes": given["memory"] and given["memory"] * MIB,
            "wall_ms": timeout_s and max(1, int(timeout_s * 1_000)),
        }
        return cls(
            permissions={
                "files": files,
                "hosts": list(given["allow_host"]),
                "env": list(given["allow_env"]),
                "databases": list(databases),
                "kv": given["allow_kv"],
            },
            databases={name.partition(":")[0]: source for name, source in databases.items()},
            environment=environment,
            workspace=Path.cwd(),
            policy=given["policy"],
            limits={name: value for name, value in limits.items() if value},
        )


async def find_tool(
    bench: Workbench, name: str, function: str | None, config: Callable[[], Config]
) -> LoadedTool:
    """The tool that a name or a path means: a path when it looks like one or is there, else a
    tool of Caxton, else one of the tools folder.

    Raises:
        ToolNotFound: there is none.
        ToolInvalid: it is not usable.
    """
    files = _files(name, config)
    tools = await bench.tools(files)
    by_name = {one.about.name: one for one in tools}
    wanted = function or name
    found = by_name.get(wanted) or by_name.get(f"{files.name}_{wanted}")
    if found is None and function is None and len(tools) == 1:
        (found,) = tools
    if found is None:
        raise ToolInvalid(
            tool=files.name, reason=f"name one of its functions with --function: {sorted(by_name)}"
        )
    return found


def _files(name: str, config: Callable[[], Config]) -> ToolFiles:
    if "/" in name or name.endswith(".wasm") or name == ".":
        return files_of(Path(name))
    shipped = ToolCatalog.builtin().get(name)
    if shipped is not None:
        return files_of(shipped.module)
    from caxton.tools.folder import tools_folder

    there = {files.name: files for files in find_tools(tools_folder(config()))}
    for known, files in there.items():
        if name == known or name.startswith(f"{known}_"):
            return files
    if Path(name).is_dir():
        return files_of(Path(name))
    near = ", ".join((*ToolCatalog.builtin().names, *there))
    raise ToolNotFound(tool=name, near=near)
