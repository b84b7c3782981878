"""Limits written into a module, for an engine that takes none.

The memory and the tables of a module declare how far they may grow. Lowering what is declared
makes any engine keep to it. Only validated modules are given here, so nothing is checked again.
Source: WebAssembly core specification, binary format: sections, limits, LEB128.
"""

from __future__ import annotations

from typing import Final

from sandbox.errors import Reason, SandboxError
from sandbox.limits import Limits

PAGE: Final = 65_536

_TABLE: Final = 4
_MEMORY: Final = 5
_HEADER: Final = 8


def limited(data: bytes, limits: Limits) -> bytes:
    """The module with ``memory_bytes`` and ``table_elements`` as its own largest sizes.

    ``data`` is a valid core module. Raises ``SandboxError`` (``module_too_large``) when it starts
    larger than that.
    """
    pieces = [data[:_HEADER]]
    at = _HEADER
    while at < len(data):
        kind = data[at]
        length, start = _unsigned(data, at + 1)
        end = start + length
        if kind == _MEMORY:
            pieces.append(_section(kind, data[start:end], 0, limits.memory_bytes // PAGE, limits))
        elif kind == _TABLE:
            pieces.append(_section(kind, data[start:end], 1, limits.table_elements, limits))
        else:
            pieces.append(data[at:end])
        at = end
    return b"".join(pieces)


def _section(kind: int, body: bytes, skipped: int, most: int, limits: Limits) -> bytes:
    """A section of limits again, each with ``skipped`` bytes before it, all at most ``most``."""
    count, at = _unsigned(body, 0)
    pieces = [_leb(count)]
    for _ in range(count):
        before = body[at : at + skipped]
        has_largest = body[at + skipped]
        least, at = _unsigned(body, at + skipped + 1)
        largest = most
        if has_largest:
            declared, at = _unsigned(body, at)
            largest = min(declared, most)
        if least > most:
            raise SandboxError(
                Reason.MODULE_TOO_LARGE,
                f"the module does not fit its limits of {limits.memory_bytes} bytes of memory and "
                f"{limits.table_elements} table elements; raise them",
                memory_bytes=limits.memory_bytes,
                table_elements=limits.table_elements,
            )
        pieces.append(before + b"\x01" + _leb(least) + _leb(largest))
    rest = b"".join(pieces)
    return bytes([kind]) + _leb(len(rest)) + rest


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _leb(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
