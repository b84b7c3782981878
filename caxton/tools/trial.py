"""Which tool a name or a path on the command line means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from caxton.errors import ToolInvalid, ToolNotFound
from caxton.tools.catalog import ToolCatalog
from caxton.tools.loading import LoadedTool
from caxton.tools.tool_files import ToolFiles, files_of, find_tools

if TYPE_CHECKING:
    from caxton.config import Config
    from caxton.tools.workbench import Workbench

__all__ = ["find_tool"]


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
    from caxton.tools.tool_files import tools_folder

    there = {files.name: files for files in find_tools(tools_folder(config()))}
    for known, files in there.items():
        if name == known or name.startswith(f"{known}_"):
            return files
    if Path(name).is_dir():
        return files_of(Path(name))
    near = ", ".join((*ToolCatalog.builtin().names, *there))
    raise ToolNotFound(tool=name, near=near)
