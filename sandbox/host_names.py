"""Names and addresses of hosts in one normal form, and which addresses are public.

Everything that compares hosts compares these forms: A-labels in lower case without a trailing dot,
IPv4 as four decimal numbers, IPv6 compressed. Other spellings of an address, which the system's
resolver would take (``127.1``, ``0x7f000001``, ``2130706433``), are refused, not translated.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

__all__ = [
    "Address",
    "Network",
    "address_of",
    "host_name",
    "host_pattern",
    "is_link_local",
    "network_of",
    "pattern_matches",
    "why_never",
    "why_not_public",
]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")

_NOT_PUBLIC: Final = tuple(
    (ipaddress.ip_network(network), what)
    for network, what in (
        ("0.0.0.0/8", "of this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "of a carrier's network"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "reserved for examples"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "reserved for benchmarks"),
        ("198.51.100.0/24", "reserved for examples"),
        ("203.0.113.0/24", "reserved for examples"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private"),
        ("ff00::/8", "multicast"),
        ("2001:db8::/32", "reserved for examples"),
        ("3fff::/20", "reserved for examples"),
        ("2001::/23", "reserved"),
    )
)
# Python's own tables changed between its releases; these ranges hold on each of them.

_NEVER: Final = frozenset({"multicast", "unspecified", "of this network", "reserved"})
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")


def address_of(text: str) -> Address | None:
    """The address a normal form is; None for a name. IPv6 with or without brackets."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if "%" in bare:
        return None
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        return None


def network_of(text: str) -> Network | None:
    """The range of addresses that ``text`` is, such as ``10.0.0.0/8``; None when it is none."""
    if "/" not in text:
        return None
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def host_name(text: str) -> str:
    """The normal form of a name or an address. Raises ``ValueError`` that says what is wrong."""
    address = address_of(text)
    if address is not None:
        return str(address)
    name = _ascii(text).lower().removesuffix(".")
    # Full-width digits and ideographic dots become an address only now.
    address = address_of(name)
    if address is not None:
        return str(address)
    labels = name.split(".")
    if not name or len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("not a host name of letters, digits, '-' and dots")
    if _NUMBER.fullmatch(labels[-1]):
        raise ValueError("a number that is not an address of four decimal parts")
    return name


def host_pattern(text: str) -> str:
    """The normal form of a pattern: ``*``, ``*.name``, a range, or a host.

    Raises ``ValueError`` that says what is wrong.
    """
    if text == "*":
        return text
    if "/" in text:
        network = network_of(text)
        if network is None:
            raise ValueError("not a range of addresses such as 10.0.0.0/8 (its host bits are 0)")
        return str(network)
    if text.startswith("*."):
        name = host_name(text[2:])
        if address_of(name) is not None:
            raise ValueError("an address has no names below it")
        return f"*.{name}"
    if "*" in text:
        raise ValueError("a '*' that is not the first label")
    return host_name(text)


def pattern_matches(pattern: str, host: str) -> bool:
    """Whether a pattern names a host; both in normal form. ``*.name`` is not ``name`` itself."""
    if pattern in ("*", host):
        return True
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and address_of(host) is None
    network = network_of(pattern)
    address = address_of(host) if network is not None else None
    return (
        network is not None
        and address is not None
        and any(form.version == network.version and form in network for form in _forms(address))
    )


def why_not_public(address: Address) -> str | None:
    """What kind of address it is, when it is not one of the public internet; else None.

    An IPv4 address inside an IPv6 one (mapped, compatible, 6to4, NAT64) counts as itself.
    """
    for form in _forms(address):
        for network, what in _NOT_PUBLIC:
            if form.version == network.version and form in network:
                return what
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64_LOCAL:
            return "private"
        if address.ipv4_mapped is None and address not in _GLOBAL_UNICAST and address not in _NAT64:
            return "reserved"
    elif not address.is_global:
        return "reserved"
    return None


def why_never(address: Address) -> str | None:
    """What it is, when no grant makes it reachable: multicast, unspecified and the like."""
    what = why_not_public(address)
    return what if what in _NEVER else None


def is_link_local(address: Address) -> bool:
    """Whether it is link-local, where clouds answer with credentials of the machine."""
    return why_not_public(address) == "link-local"


def _forms(address: Address) -> tuple[Address, ...]:
    """The address and the IPv4 address inside it; the latter first."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour, address)
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF), address)
    return (address,)


def _ascii(text: str) -> str:
    if text.isascii():
        return text
    import idna

    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise ValueError("not a name that has an ASCII form (IDNA)") from error
