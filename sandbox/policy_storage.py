"""The folders of a policy: ``fs://`` paths, and what denials leave of them.

WASI opens whole folders. So a path is a folder with all that is below it; what cannot be kept that
way (single files, patterns, a denial in the midst of a granted folder) is refused with its reason,
never granted in part.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from sandbox.errors import InvalidSetting
from sandbox.grants import QUOTA_BYTES, FolderGrant
from sandbox.policy_resources import quantity
from sandbox.policy_yaml import PolicyError, Value

__all__ = ["StoragePath", "folder_grants", "inside", "read_storage"]

SCHEME: Final = "fs://"


@dataclass(frozen=True, slots=True)
class StoragePath:
    """One entry. ``path`` has no pattern in it; ``pattern`` says that it was cut off at one."""

    path: str
    read: bool
    write: bool
    quota_bytes: int
    pattern: bool
    line: int
    column: int

    def error(self, message: str) -> PolicyError:
        """An error at this entry."""
        return PolicyError(self.line, self.column, f"{SCHEME}{self.path} {message}")


def read_storage(entry: Value, warn: list[str], *, denial: bool = False) -> StoragePath | None:
    """One entry of ``storage.allow`` or ``storage.deny``; None for what is no file. Raises
    ``PolicyError``.
    """
    keys = ("uri", "access") if denial else ("uri", "access", "quota_bytes")
    entries = entry.mapping(keys)
    for key in ("uri", "access"):
        if key not in entries:
            raise entry.error(f"lacks {key}")
    uri, access = entries["uri"].text(), entries["access"].words()
    for word in access:
        if word not in ("read", "write"):
            raise entries["access"].error(f"has {word[:20]!r}; read and write are known")
    if not uri.startswith(SCHEME):
        warn.append(f"line {entry.line}: {uri[:80]} grants nothing; only fs:// paths do")
        return None
    if not denial and access == ["write"]:
        warn.append(f"line {entry.line}: {uri[:80]} can be read too; WASI writes only so")
    path, pattern = _path(uri.removeprefix(SCHEME), entries["uri"], denial=denial)
    quota = QUOTA_BYTES
    if "quota_bytes" in entries:
        quota = quantity(entries["quota_bytes"])
    return StoragePath(
        path, "read" in access, "write" in access, quota, pattern, entry.line, entry.column
    )


def folder_grants(
    allowed: Iterable[StoragePath],
    denied: Iterable[StoragePath],
    workspace: Path,
    *,
    outside: bool,
) -> tuple[FolderGrant, ...]:
    """Grants for the folders, less what is denied. Raises ``PolicyError``."""
    denials = [(entry, _resolved(workspace, entry)) for entry in denied]
    found: dict[str, FolderGrant] = {}
    for entry in allowed:
        path = _existing(entry, workspace, outside=outside)
        left: StoragePath | None = entry
        for denial, denied_path in denials:
            left = _without(left, path, denial, denied_path)
            if left is None:
                break
        if left is None:
            continue
        guest = entry.path or "."
        write, quota = left.write, left.quota_bytes
        if (before := found.get(guest)) is not None:
            write, quota = write or before.write, max(quota, before.quota_bytes)
        try:
            found[guest] = FolderGrant(path, guest, write=write, quota_bytes=quota)
        except InvalidSetting as error:
            raise entry.error(f"cannot be granted: {error}") from None
    return tuple(found.values())


def inside(workspace: Path, path: str) -> Path | None:
    """Where a path of the policy is, when it is in the workspace after following symlinks."""
    resolved = (workspace / path).resolve()
    return resolved if resolved.is_relative_to(workspace.resolve()) else None


def _path(text: str, uri: Value, *, denial: bool) -> tuple[str, bool]:
    if "\0" in text or "\\" in text:
        raise uri.error("must not hold backslashes or NUL")
    root = "/" if text.startswith("/") else ""
    parts = [part for part in text.removesuffix("/**").split("/") if part]
    if text == "**":
        parts = []
    if any(part in (".", "..") for part in parts):
        raise uri.error("must not hold . or .. as a part")
    plain = [part for part in parts if not set(part) & set("*?[")]
    if len(plain) != len(parts):
        if not denial:
            raise uri.error(
                "holds a pattern that is not a /** at its end; WASI grants whole folders, so name "
                "the folder"
            )
        parts = parts[: next(n for n, part in enumerate(parts) if set(part) & set("*?["))]
        return root + "/".join(parts), True
    return root + "/".join(parts), False


def _resolved(workspace: Path, entry: StoragePath) -> Path:
    return Path(os.path.realpath(workspace / entry.path))


def _existing(entry: StoragePath, workspace: Path, *, outside: bool) -> Path:
    path = _resolved(workspace, entry)
    if not outside and inside(workspace, str(path)) is None:
        raise entry.error("is outside the workspace; the caller must allow such folders")
    if path.is_file():
        folder = PurePosixPath(entry.path).parent
        raise entry.error(f"is a single file; WASI grants folders, so name {SCHEME}{folder}")
    if not path.is_dir():
        raise entry.error("is not there; make the folder first")
    return path


def _without(
    entry: StoragePath | None, path: Path, denial: StoragePath, denied: Path
) -> StoragePath | None:
    """What is left of a granted folder."""
    if entry is None or not (denial.read or entry.write):
        return entry
    above = path.is_relative_to(denied)
    if not above and not denied.is_relative_to(path):
        return entry
    if not above or denial.pattern:
        raise denial.error(
            f"denies a part of {SCHEME}{entry.path}, which WASI cannot keep; grant the folders "
            "beside it one by one"
        )
    return None if denial.read else replace(entry, write=False)
