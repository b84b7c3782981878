"""A guest's database request, and its rows on their way back: bounded, as JSON values."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.errors import InvalidSetting
from sandbox.services.json_body import bad_request, read_base64, read_integer, read_object
from sandbox.services.request import Refusal, ServiceError

__all__ = ["DatabaseLimits", "Query", "Rows", "collect", "read_query"]

MIB: Final = 1024 * 1024
FIELDS: Final = ("database", "sql", "parameters", "limit")
PARAMETERS: Final = 1_000
COLUMNS: Final = 200
"""Most columns of a result. With ``value_bytes`` it bounds what a row takes while it is made."""

ROW_BYTES: Final = 8
"""What a value costs besides its own bytes: separators and digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLimits:
    """Bounds of the database service. Raises ``InvalidSetting`` when one is out of range."""

    request_bytes: int = 4 * MIB
    """Largest request, in bytes. 1 to 32 MiB; default 4 MiB."""
    rows: int = 10_000
    """Most rows a request may ask for. 1 to 1,000,000; default 10,000."""
    result_bytes: int = 8 * MIB
    """Most bytes of a result's values; further rows are left out. 1 to 24 MiB; default 8 MiB."""
    value_bytes: int = MIB
    """Largest text, blob or stored row that SQLite makes or reads. 1 KiB to 16 MiB; default
    1 MiB."""
    timeout_ms: int = 5_000
    """Longest time of a statement, in ms. 1 to 600,000; default 5 s."""
    concurrent: int = 8
    """Statements at the same time, each on a thread. 1 to 64; default 8."""
    waiting: int = 64
    """Statements that may wait for their turn. 0 to 100,000; default 64."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("request_bytes", 1, 32 * MIB),
            ("rows", 1, 1_000_000),
            ("result_bytes", 1, 24 * MIB),
            ("value_bytes", 1024, 16 * MIB),
            ("timeout_ms", 1, 600_000),
            ("concurrent", 1, 64),
            ("waiting", 0, 100_000),
        ):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise InvalidSetting(name, value, f"an integer from {low} to {high}")


@dataclass(frozen=True, slots=True)
class Query:
    """One statement with its parameters, and how much of its result is wanted."""

    database: str
    sql: str
    parameters: Sequence[Any] | dict[str, Any]
    rows: int
    result_bytes: int
    value_bytes: int


@dataclass(slots=True)
class Rows:
    """A result. ``changed`` is how many rows a writing statement changed."""

    columns: list[str]
    rows: list[list[Any]] = field(default_factory=list)
    changed: int = 0
    truncated: bool = False

    def encoded(self) -> bytes:
        """As JSON, as guests get it."""
        return json.dumps(
            {
                "columns": self.columns,
                "rows": self.rows,
                "changed": self.changed,
                "truncated": self.truncated,
            },
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode(errors="replace")


def read_query(body: bytes, limits: DatabaseLimits) -> Query:
    """Read and check a request. Raises ``ServiceError``."""
    request = read_object(body, FIELDS, limits.request_bytes)
    for name in ("database", "sql"):
        value = request.get(name)
        if not isinstance(value, str) or not value or "\0" in value:
            raise bad_request(f"{name} must be a text, not empty, without NUL")
    default = min(1_000, limits.rows)
    return Query(
        database=request["database"],
        sql=request["sql"],
        parameters=_parameters(request.get("parameters", [])),
        rows=read_integer(request, "limit", default, 1, limits.rows),
        result_bytes=limits.result_bytes,
        value_bytes=limits.value_bytes,
    )


def collect(columns: list[str], rows: Iterable[Sequence[Any]], query: Query) -> Rows:
    """Take rows until there are enough of them or of their bytes.

    Raises ``ServiceError`` (``too_large``) when not even the first row fits.
    """
    if len(columns) > COLUMNS:
        raise ServiceError(
            Refusal.TOO_LARGE, f"a result of {len(columns)} columns; at most {COLUMNS} are allowed"
        )
    found = Rows(columns)
    left = query.result_bytes
    if not columns:
        return found
    for row in rows:
        if len(found.rows) == query.rows:
            found.truncated = True
            break
        values = [_value(value) for value in row]
        left -= sum(map(_size, values))
        if left < 0:
            if not found.rows:
                raise ServiceError(
                    Refusal.TOO_LARGE,
                    f"the first row is larger than {query.result_bytes} bytes; select less of it",
                )
            found.truncated = True
            break
        found.rows.append(values)
    return found


def _parameters(given: object) -> Sequence[Any] | dict[str, Any]:
    if isinstance(given, list) and len(given) <= PARAMETERS:
        return [_bound(str(index), value) for index, value in enumerate(given)]
    if isinstance(given, dict) and len(given) <= PARAMETERS:
        for name in given:
            if not name.isidentifier() or not name.isascii():
                raise bad_request(f"parameter {name[:80]!r} is not a name")
        return {name: _bound(name, value) for name, value in given.items()}
    raise bad_request(f"parameters must be a list or an object of at most {PARAMETERS} values")


def _bound(name: str, value: object) -> object:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, dict) and value.keys() == {"base64"}:
        return read_base64(f"parameter {name}", value["base64"])
    raise bad_request(
        f"parameter {name} must be null, a boolean, a number of 64 bits, a text or "
        '{"base64": "..."}'
    )


def _value(value: object) -> object:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        # JSON has no such numbers.
        return value if math.isfinite(value) else None
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode("ascii")}
    # Dates, decimals and what else a driver makes: the text a person would read.
    return str(value)


def _size(value: object) -> int:
    if isinstance(value, str):
        # Half a surrogate pair has no UTF-8; it is replaced on the way out.
        return len(value.encode(errors="replace")) + ROW_BYTES
    if isinstance(value, dict):
        return len(value["base64"]) + ROW_BYTES
    return 2 * ROW_BYTES
