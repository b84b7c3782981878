"""Reading query parameters: strict, each at most once."""

from __future__ import annotations

import base64
import binascii
import difflib
import re
from collections.abc import Collection
from typing import Final

from starlette.requests import Request

from caxton.errors import ValidationError
from caxton.types import MessageTimeoutMs

__all__ = [
    "DEFAULT_PAGE",
    "EVENT_TYPES",
    "MAX_PAGE",
    "WAIT",
    "check_query",
    "choice",
    "event_types",
    "flag",
    "listed",
    "number",
    "page_size",
    "page_token",
    "ratio",
    "read_token",
    "wait_ms",
]

DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 1_000
WAIT: Final = r"([1-9][0-9]?|[12][0-9]{2}|300)s?|([1-9][0-9]{3,4}|[12][0-9]{5}|300000)ms"
"""``30s``, ``30`` or ``1500ms``: 1 s to 300 s, the range of MessageTimeoutMs."""
EVENT_TYPES: Final = r"[a-z0-9_.]{1,100}(,[a-z0-9_.]{1,100}){0,19}"
_WAIT = re.compile(r"([0-9]{1,9})(ms|s)?")


def check_query(request: Request, allowed: Collection[str]) -> None:
    """Refuse parameters that mean nothing here, and those given twice.

    Raises:
        ValidationError: it names the first.
    """
    if not request.scope["query_string"]:
        return
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in allowed:
            near = difflib.get_close_matches(name[:100], allowed, n=1)
            hint = f"did you mean `{near[0]}`? " if near else ""
            listed = f"one of {', '.join(sorted(allowed))}" if allowed else "no parameters"
            raise ValidationError(
                field=f"query.{name[:100]}",
                value="an unknown parameter",
                allowed=f"{hint}{listed}",
            )
        if name in seen:
            raise ValidationError(field=f"query.{name}", value="given twice", allowed="once")
        seen.add(name)


def wait_ms(request: Request) -> int | None:
    """How long ``?wait=`` asks to wait, in ms: ``30s``, ``1500ms`` or seconds.

    Raises:
        ValidationError: it is no duration of 1 s to 300 s.
    """
    given = request.query_params.get("wait")
    if given is None:
        return None
    found = _WAIT.fullmatch(given)
    if found is None or re.fullmatch(WAIT, given) is None:
        raise ValidationError(
            field="query.wait", value=given, allowed="1s to 300s, such as 30s, 30 or 1500ms"
        )
    value = int(found[1]) * (1 if found[2] == "ms" else 1_000)
    return MessageTimeoutMs.parse(value, "query.wait")


def page_size(request: Request) -> int:
    """``?page_size=``: 1 to 1,000, default 50.

    Raises:
        ValidationError: it is not.
    """
    return number(request, "page_size", DEFAULT_PAGE, MAX_PAGE)


def number(request: Request, name: str, default: int, most: int, least: int = 1) -> int:
    """A query parameter that is a whole number.

    Raises:
        ValidationError: it is none, less than ``least`` or more than ``most``.
    """
    given = request.query_params.get(name)
    if given is None:
        return default
    if re.fullmatch(r"0|[1-9][0-9]{0,18}", given) is None or not least <= int(given) <= most:
        raise ValidationError(field=f"query.{name}", value=given, allowed=f"{least} to {most:,}")
    return int(given)


def ratio(request: Request, name: str, default: float) -> float:
    """A query parameter that is a number from 0 to 1.

    Raises:
        ValidationError: it is not.
    """
    given = request.query_params.get(name)
    if given is None:
        return default
    try:
        value = float(given) if given.isascii() else -1.0
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise ValidationError(field=f"query.{name}", value=given, allowed="0 to 1")
    return value


def flag(request: Request, name: str, *, default: bool) -> bool:
    """A query parameter that is ``true`` or ``false``.

    Raises:
        ValidationError: it is neither.
    """
    given = request.query_params.get(name)
    if given is None:
        return default
    if given not in ("true", "false"):
        raise ValidationError(field=f"query.{name}", value=given, allowed="true or false")
    return given == "true"


def listed(request: Request, name: str, longest: int, most: int) -> tuple[str, ...]:
    """A query parameter that is names with commas between.

    Raises:
        ValidationError: one is longer than ``longest``, or there are more than ``most``.
    """
    whole = request.query_params.get(name)
    if whole is None:
        return ()
    found = tuple(one.strip() for one in whole.split(","))
    if len(found) > most or not all(1 <= len(one) <= longest for one in found):
        raise ValidationError(
            field=f"query.{name}",
            value=whole,
            allowed=f"1 to {most} names of 1 to {longest} characters, commas between",
        )
    return found


def page_token(key: str) -> str:
    """The token for the page after ``key``."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def read_token(request: Request) -> str:
    """The key that ``?page_token=`` holds; empty for the first page.

    Raises:
        ValidationError: no reply gave this token.
    """
    given = request.query_params.get("page_token", "")
    try:
        padded = given.encode("ascii") + b"=" * (-len(given) % 4)
        key = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
        if len(given) <= 1_000 and page_token(key) == given:
            return key
    except (UnicodeError, binascii.Error, ValueError):
        pass
    raise ValidationError(
        field="query.page_token", value=given, allowed="the next_page_token of a reply"
    )


def choice(request: Request, name: str, options: Collection[str]) -> str | None:
    """A parameter that is one of ``options``.

    Raises:
        ValidationError: it is none of them.
    """
    given = request.query_params.get(name)
    if given is not None and given not in options:
        raise ValidationError(field=f"query.{name}", value=given, allowed=", ".join(options))
    return given


def event_types(request: Request) -> tuple[str, ...]:
    """The beginnings of event types in ``?types=``; none means all.

    Raises:
        ValidationError: more than 20, or not written as event types are.
    """
    given = request.query_params.get("types")
    if given is None:
        return ()
    if re.fullmatch(EVENT_TYPES, given) is None:
        raise ValidationError(
            field="query.types",
            value=given,
            allowed="1 to 20 beginnings of event types, such as agent.,process.",
        )
    return tuple(given.split(","))
