"""Capabilities as addresses: a name, and after an ``@`` the versions that will do.

``billing`` is anyone who offers it; ``billing@>=1.2,<2`` only who offers such a version;
``billing@1.3`` is 1.3 and any 1.3.x. Ranges are version specifiers (PEP 440), versions are those of
agent files (semver.org 2.0.0).
"""

from __future__ import annotations

import enum
import functools
import re
from typing import TYPE_CHECKING, Final

from caxton.errors import ValidationError
from caxton.types import Bound, CapabilityName

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

__all__ = ["CAPABILITY_ADDRESS", "Strategy", "fits", "parse_capability", "split_capability"]

RANGES: Final = 1_024
"""Ranges and versions that are kept parsed."""
_BARE: Final = re.compile(r"[0-9]+(\.[0-9]+)*")
_RELEASE: Final = r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}"
_PRE: Final = r"((a|b|rc)[0-9]{1,9})?"
_CLAUSE: Final = (
    rf"((>=|<=|>|<|==|!=){_RELEASE}{_PRE}|(==|!=){_RELEASE}\.\*|~={_RELEASE}\.[0-9]{{1,9}}{_PRE})"
)
CAPABILITY_ADDRESS: Final = Bound(
    "CapabilityAddress", str, 1, 200,
    pattern=rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,99}}(@({_RELEASE}|{_CLAUSE}(,{_CLAUSE}){{0,5}}))?",
)  # fmt: skip
_CORE: Final = re.compile(r"[0-9]+(\.[0-9]+){0,2}")


class Strategy(enum.Enum):
    """How a provider of a capability is chosen."""

    STICKY = "sticky"
    """The best by priority × health × (1 − load); a conversation stays with its provider."""
    PRIORITY = "priority"
    """The highest priority that is able; equal ones take turns."""
    ROUND_ROBIN = "round_robin"
    """Each in turn."""
    LEAST_LOADED = "least_loaded"
    """Who has the fewest messages."""
    FASTEST = "fastest"
    """Who is expected to be done first, by the time that messages took lately."""
    BROADCAST = "broadcast"
    """An INFORM goes to every provider; any other act to one, as with ``sticky``."""


def split_capability(address: str) -> tuple[str, str]:
    """The name and the range of an address; the range is empty when there is none."""
    name, _, versions = address.partition("@")
    return name, versions


def parse_capability(address: str, field: str = "capability") -> str:
    """Check an address and give it back.

    Raises:
        ValidationError: it is no name, or what follows ``@`` is no range of versions.
    """
    if "@" not in address:
        return CapabilityName.parse(address, field)
    try:
        return CAPABILITY_ADDRESS.parse(address, field)
    except ValidationError:
        allowed = "NAME@RANGE such as billing@>=1.2,<2 or billing@1.3"
        raise ValidationError(field=field, value=address, allowed=allowed) from None


@functools.lru_cache(RANGES)
def _range(text: str) -> SpecifierSet | None:
    # Here, because few messages name a version, and starting is to stay fast.
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    if _BARE.fullmatch(text):
        text = f"=={text}.*"
    try:
        return SpecifierSet(text) if text.strip() else None
    except InvalidSpecifier:
        return None


@functools.lru_cache(RANGES)
def _version(text: str) -> Version | None:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(text)
    except InvalidVersion:
        # A pre-release that PEP 440 does not spell comes before its release all the same.
        core = _CORE.match(text)
        return Version(f"{core[0]}.dev0") if core else None


def fits(version: str, versions: str) -> bool:
    """Whether ``version`` is in the range ``versions``; an empty range takes any.

    A pre-release fits only a range that names one.
    """
    if not versions:
        return True
    wanted, offered = _range(versions), _version(version)
    if wanted is None or offered is None:
        return False
    return wanted.contains(offered, prereleases=bool(wanted.prereleases))
