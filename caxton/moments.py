"""Moments as text: RFC 3339 at the edges, milliseconds since 1970 inside."""

from __future__ import annotations

import datetime as dt

from caxton.errors import ValidationError

__all__ = ["format_time", "parse_time"]


def format_time(milliseconds: int) -> str:
    """RFC 3339, UTC, with milliseconds."""
    moment = dt.datetime.fromtimestamp(milliseconds / 1e3, tz=dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(value: object, field: str) -> int:
    """Read an RFC 3339 time with its zone, as milliseconds since 1970.

    Raises:
        ValidationError: it is not such a time.
    """
    if isinstance(value, str):
        try:
            moment = dt.datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return round(moment.timestamp() * 1_000)
        except (ValueError, OverflowError):
            pass
    raise ValidationError(field=field, value=value, allowed="an RFC 3339 time with its zone")
