"""What options of the command line allow a tool, as an agent file would grant it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from caxton.errors import NotFound, ToolInvalid, ValidationError
from caxton.tools.grants import grants_of
from sandbox import Grants
from sandbox.policy import Policy, PolicyError

__all__ = ["Allowed"]

MIB: Final = 1024 * 1024
POLICY_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Allowed:
    """What options allow, in the words of an agent file's ``permissions``."""

    permissions: Mapping[str, Any] = field(default_factory=dict)
    databases: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    workspace: Path = Path()
    policy: Policy | None = None
    """All that it asks for is granted, besides the rest."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Fields of ``sandbox.Limits`` that were given."""

    @classmethod
    def of_options(
        cls, given: Mapping[str, Any], environment: Mapping[str, str], timeout_s: float | None
    ) -> Self:
        """Read the options of ``caxton tool call``.

        Raises:
            ValidationError: one of them is not as it should be.
            NotFound: the policy file is not there.
            ToolInvalid: it breaks a rule.
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
            policy=_policy(given["policy"]),
            limits={name: value for name, value in limits.items() if value},
        )

    def grants(self, tool: str) -> Grants:
        """What is allowed, for the tool of this name.

        Raises:
            InvalidSetting: it cannot be granted, such as a folder that is not there.
            PolicyError: the policy asks for what is not there.
        """
        granted = grants_of(
            self.permissions,
            workspace=self.workspace,
            namespace=f"tool/{tool}",
            environment=self.environment,
            databases=self.databases,
        )
        if self.policy is None:
            return granted
        asked = self.policy.grants(self.workspace, self.environment, self.databases, outside=True)
        return Grants(
            folders=tuple({one.guest: one for one in (*asked.folders, *granted.folders)}.values()),
            env=tuple(dict((*asked.env, *granted.env)).items()),
            hosts=(*asked.hosts, *granted.hosts),
            kv=granted.kv or asked.kv,
            databases=tuple(
                {one.name: one for one in (*asked.databases, *granted.databases)}.values()
            ),
            memory=asked.memory,
            denied_hosts=asked.denied_hosts,
        )


def _policy(path: Path | None) -> Policy | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return Policy.read(file.read(POLICY_BYTES).decode())
    except FileNotFoundError as error:
        raise NotFound(kind="file", id=str(path)) from error
    except (OSError, UnicodeDecodeError, PolicyError) as error:
        raise ToolInvalid(tool=path.name, reason=str(error)) from error
