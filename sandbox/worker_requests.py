"""What a pool asks of its workers. Most requests differ from the last one in their body only.

So the header of a request without folders and variables is encoded once and read once: the pool
keeps the bytes, the worker what it made of them. Folders are looked at again with each call, for
they may have changed; variables may be secrets, which a worker does not keep.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from sandbox.frames import Header, encode, pack, pack_encoded, unpack_header
from sandbox.grants import Grants
from sandbox.limits import Limits
from sandbox.worker_frames import grants_from, grants_to

__all__ = ["KnownHeaders", "Settings", "pack_request", "settings_of"]

KEPT: Final = 64
"""Most headers a worker keeps, and a pool."""

KEPT_BYTES: Final = 4096
"""Longest header that is kept."""

Asked = tuple[tuple[str, str | tuple[str, ...]], ...]
"""What is asked for: names and values of a header."""

NO_GRANTS: Final = Grants()


@dataclass(frozen=True, slots=True)
class Settings:
    """With what a module is run."""

    artifact: Path
    limits: Limits
    grants: Grants


class KnownHeader(dict[str, Any]):
    """A header that is kept, and what was made of it."""

    settings: Settings | None = None


class KnownHeaders:
    """Headers that a worker has read; the least recently used goes first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, KnownHeader] = OrderedDict()

    def header(self, data: bytes) -> Header:
        """As ``unpack_header``."""
        found = self._kept.get(data)
        if found is not None:
            self._kept.move_to_end(data)
            return found
        header = unpack_header(data)
        if len(data) > KEPT_BYTES or "limits" not in header or _to_make_anew(header):
            return header
        self._kept[data] = known = KnownHeader(header)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return known

    def __len__(self) -> int:
        return len(self._kept)


def settings_of(header: Header) -> Settings:
    """Reads what ``pack_request`` wrote beside what it asks for. Raises ``InvalidSetting``."""
    if isinstance(header, KnownHeader):
        if header.settings is None:
            header.settings = _settings(header)
        return header.settings
    return _settings(header)


def pack_request(
    artifact: Path, limits: Limits, grants: Grants, asked: Asked, body: bytes = b""
) -> bytes:
    """The frame of a request. Raises ``SandboxError`` (``message_too_large``)."""
    if grants.folders or grants.env or _size(asked) > KEPT_BYTES:
        return pack(_header(artifact, limits, grants, asked), body)
    return pack_encoded(_encoded(artifact, limits, asked), body)


@lru_cache(maxsize=KEPT)
def _encoded(artifact: Path, limits: Limits, asked: Asked) -> bytes:
    return encode(_header(artifact, limits, NO_GRANTS, asked))


def _header(artifact: Path, limits: Limits, grants: Grants, asked: Asked) -> Header:
    return {
        **dict(asked),
        "artifact": str(artifact),
        "limits": limits.as_dict(),
        **grants_to(grants),
    }


def _settings(header: Header) -> Settings:
    grants = grants_from(header) if _to_make_anew(header) else NO_GRANTS
    return Settings(Path(header["artifact"]), Limits(**header["limits"]), grants)


def _to_make_anew(header: Header) -> bool:
    return bool(header["folders"] or header["env"])


def _size(asked: Asked) -> int:
    return sum(len(value) if isinstance(value, str) else sum(map(len, value)) for _, value in asked)
