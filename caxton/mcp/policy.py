"""What tools may reach when an MCP client calls them: nothing, unless a file grants it."""

from __future__ import annotations

from pathlib import Path

from caxton.agents.definition import Permissions
from caxton.config import Config
from caxton.errors import ConfigInvalid
from caxton.mcp.server_file import read_servers

__all__ = ["check_files", "read_policy", "read_policy_file"]

MAX_FILE = 256 * 1024


def check_files(config: Config) -> None:
    """Read the files that the settings of MCP name.

    Raises:
        ConfigInvalid: one is not there or not right.
    """
    read_policy(config)
    read_servers(config)


def read_policy(config: Config) -> Permissions:
    """The grants of tools that are called at ``/mcp``, from the file ``mcp.permissions`` names.

    Raises:
        ConfigInvalid: the file is not there or not right.
    """
    if not config.mcp_permissions:
        return Permissions()
    path = config.workspace / Path(config.mcp_permissions).expanduser()
    return read_policy_file(path)


def read_policy_file(path: Path) -> Permissions:
    """The grants of a YAML file with the key ``permissions``, as in an agent file.

    Raises:
        ConfigInvalid: the file is not there or not right.
    """
    from caxton.agents.agent_fields import read_permissions
    from caxton.agents.field_checks import Checks
    from caxton.agents.places import FrontMatterError
    from caxton.agents.yaml_reader import read_yaml

    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(path, str(error), "a readable file") from error
    if len(data) > MAX_FILE:
        raise _wrong(path, "too large", f"at most {MAX_FILE:,} bytes")
    try:
        front = read_yaml(text, "", 1)
    except FrontMatterError as error:
        raise _wrong(path, str(error), "a YAML mapping with `permissions:`") from error
    unknown = [str(key) for key in front.data if key != "permissions"]
    if unknown or "permissions" not in front.data:
        raise _wrong(path, ", ".join(unknown)[:60] or "nothing", "one key, `permissions`")
    checks = Checks(path.name, front)
    permissions = read_permissions(checks, front.data["permissions"], ("permissions",))
    if checks.errors:
        raise _wrong(
            path, "; ".join(map(str, checks.errors[:3]))[:300], "permissions that are right"
        )
    return permissions


def _wrong(path: Path, value: str, allowed: str) -> ConfigInvalid:
    return ConfigInvalid(field="mcp.permissions", value=value, allowed=allowed, origin=str(path))
