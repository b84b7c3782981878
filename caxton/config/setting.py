"""One row of the settings table, and how values of each kind are read."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from caxton.config.secret import Secret
from caxton.errors import ValidationError
from caxton.types import Bound

__all__ = [
    "Setting", "choice", "databases", "digest", "flag", "named_databases", "path", "row", "secret",
    "text",
]  # fmt: skip

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_DATABASE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the settings table."""

    key: str
    """Dotted name in the file: ``llm.base_url`` is ``base_url`` in the section ``[llm]``."""
    help: str
    """What it is for, with its unit."""
    parse: Callable[[object, str], Any]
    """Turns a value from any origin into the typed one, or raises ValidationError."""
    allowed: str
    """The range as people read it."""
    secret: bool = False
    """Never printed."""
    env: tuple[str, ...] = ()
    """Environment variables besides ``CAXTON_<KEY>``, tried after it."""
    bound: Bound[Any] | None = None
    """Of a number."""

    @property
    def field(self) -> str:
        """The name of the field in ``Config``."""
        return self.key.replace(".", "_")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"CAXTON_{self.field.upper()}"


def _number(bound: Bound[Any]) -> Callable[[object, str], Any]:
    def parse(value: object, field: str) -> Any:
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = bound.base(value)
        return bound.parse(value, field)

    return parse


def text(value: object, field: str) -> str:
    """A text; raises ValidationError for anything else."""
    if isinstance(value, str) and len(value) <= 4_096 and "\0" not in value:
        return value
    raise ValidationError(field=field, value=value, allowed="text of at most 4,096 characters")


def secret(value: object, field: str) -> Secret:
    """A text that is never printed; raises ValidationError for anything else."""
    try:
        return Secret(text(value, field))
    except ValidationError:
        raise ValidationError(field=field, value="a secret", allowed="text") from None


def databases(value: object, field: str) -> Secret:
    """Databases as ``name=file`` or ``name=url``, parted by commas; a URL may hold a password.

    Raises ValidationError for anything else.
    """
    given = secret(value, field)
    try:
        named_databases(given)
    except ValueError:
        raise ValidationError(
            field=field, value="databases", allowed="name=file or name=url, parted by commas"
        ) from None
    return given


def named_databases(given: Secret) -> dict[str, str]:
    """The sources by name. Raises ValueError for what is no list of them."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in given.reveal().split(","))):
        name, sign, source = part.partition("=")
        if not sign or not source or not _DATABASE.fullmatch(name) or name in found:
            raise ValueError("not a name and a source")
        found[name] = source
    return found


def path(value: object, field: str) -> Path:
    """A path; raises ValidationError for anything else."""
    if isinstance(value, Path):
        return value.expanduser()
    given = text(value, field)
    if not given:
        raise ValidationError(field=field, value=value, allowed="a path")
    return Path(given).expanduser()


def flag(value: object, field: str) -> bool:
    """A yes or no; raises ValidationError for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("1", "true", "yes", "on"):
        return True
    if isinstance(value, str) and value.lower() in ("0", "false", "no", "off"):
        return False
    raise ValidationError(field=field, value=value, allowed="true or false")


def choice(*options: str) -> Callable[[object, str], str]:
    """Reads one of some words."""

    def parse(value: object, field: str) -> str:
        if isinstance(value, str) and value in options:
            return value
        raise ValidationError(field=field, value=value, allowed=" or ".join(options))

    return parse


def digest(value: object, field: str) -> str:
    """A SHA-256 in hex, or nothing; raises ValidationError for anything else."""
    given = value.strip().lower() if isinstance(value, str) else ""
    if isinstance(value, str) and (not given or _SHA256.fullmatch(given)):
        return given
    raise ValidationError(field=field, value=value, allowed="64 hex digits, or empty for any")


def row(
    key: str,
    help_: str,
    kind: Bound[Any] | Callable[[object, str], Any],
    allowed: str = "",
    **kw: Any,
) -> Setting:
    """A row of the table."""
    if isinstance(kind, Bound):
        return Setting(key, help_, _number(kind), kind.allowed, bound=kind, **kw)
    return Setting(key, help_, kind, allowed, **kw)
