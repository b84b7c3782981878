"""Moments as text: RFC 3339 at the edges, milliseconds since 1970 inside."""

from __future__ import annotations

import datetime as dt

from caxton.errors import ValidationError

__all__ = ["format_time", "parse_time"]


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def format_time(milliseconds: int) -> str:
    """RFC 3339, UTC, with milliseconds; what ``parse_time`` reads is the same number."""
    # In whole numbers: a float of seconds is off by one in far years.
    moment = _EPOCH + dt.timedelta(milliseconds=milliseconds)
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
