"""Names, patterns and addresses of hosts in one normal form."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import Grants, HostGrant, InvalidSetting
from sandbox.host_names import address_of, host_name, host_pattern, pattern_matches, why_not_public


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("a_b.test", "a_b.test"),
        ("Bücher.test", "xn--bcher-kva.test"),
        ("ＥＸＡＭＰＬＥ.test", "example.test"),
        ("10.0.0.1", "10.0.0.1"),
        ("[::1]", "::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("127。0。0。1", "127.0.0.1"),
        ("localhost", "localhost"),
        ("1.com", "1.com"),
    ],
)
def test_a_host_has_one_form(text: str, normal: str) -> None:
    """And that form is its own."""
    assert host_name(text) == normal
    assert host_name(normal) == normal


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "..", "a..b", "-a.test", "a-.test", "a b", "a/b", "a@b", "a:1", "a%2eb", "*",
        "127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "1.2.3.4.5", "256.1.1.1",
        "a.1", "a.0x", "fe80::1%lo", "[::1", "::g", "a" * 64, ".".join(["a" * 60] * 5),
        "xn--\ud800", "☃" * 80, "a\0b", "a\nb",
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused(text: str) -> None:
    """Other spellings of addresses too, which a resolver would take."""
    with pytest.raises(ValueError, match=r"."):
        host_name(text)


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("*", "any.test", True),
        ("*", "10.0.0.1", True),
        ("a.test", "a.test", True),
        ("a.test", "b.a.test", False),
        ("*.a.test", "b.a.test", True),
        ("*.a.test", "c.b.a.test", True),
        ("*.a.test", "a.test", False),
        ("*.a.test", "ba.test", False),
        ("10.0.0.0/8", "10.9.9.9", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "a.test", False),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("10.0.0.0/8", "64:ff9b::a00:1", True),
        ("fd00::/8", "fd00::1", True),
        ("10.0.0.1", "10.0.0.1", True),
    ],
)
def test_patterns(pattern: str, host: str, *, matches: bool) -> None:
    """A name and all below it are two things; an address is found in its other forms."""
    assert pattern_matches(host_pattern(pattern), host_name(host)) is matches


@given(st.text(max_size=40))
def test_any_text_is_a_host_or_refused(text: str) -> None:
    """The normal form is ASCII, in lower case, and stays itself."""
    try:
        normal = host_name(text)
    except ValueError:
        return
    assert normal.isascii()
    assert normal == normal.lower() == host_name(normal)


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_counts_as_itself(address: ipaddress.IPv4Address) -> None:
    """Mapped, 6to4 and NAT64 are as public as what they hold."""
    number = int(address)
    for form in (
        ipaddress.IPv6Address((0xFFFF << 32) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80)),
        ipaddress.IPv6Address((0x64FF9B << 96) | number),
    ):
        assert (why_not_public(form) is None) == (why_not_public(address) is None)
    if why_not_public(address) is None:
        assert address.is_global


def test_a_zone_is_no_address() -> None:
    """It names an interface of this machine."""
    assert address_of("fe80::1%eth0") is None


class TestGrant:
    """Which hosts can be granted."""

    def test_it_keeps_the_normal_form(self) -> None:
        """So that two spellings are one grant."""
        assert HostGrant("Bücher.TEST.") == HostGrant("xn--bcher-kva.test")
        assert HostGrant("[::1]").host == "::1"

    @pytest.mark.parametrize(
        ("field", "grant"),
        [
            ("host", {"host": ""}),
            ("host", {"host": "a*.test"}),
            ("host", {"host": "*.10.0.0.1"}),
            ("host", {"host": "10.0.0.1/8"}),
            ("host", {"host": "https://a.test"}),
            ("host", {"host": "a.test:80"}),
            ("port", {"port": 0}),
            ("port", {"port": 65_536}),
            ("port", {"port": True}),
            ("scheme", {"scheme": "ftp"}),
            ("scheme", {"scheme": "HTTPS"}),
            ("methods", {"methods": frozenset({"get"})}),
            ("methods", {"methods": frozenset({"CONNECT"})}),
            ("methods", {"methods": frozenset({"GET POST"})}),
        ],
    )
    def test_what_is_refused_is_named(self, field: str, grant: dict[str, object]) -> None:
        """Field, value, and what is allowed."""
        with pytest.raises(InvalidSetting, match="allowed") as refused:
            HostGrant(**{"host": "a.test", **grant})  # type: ignore[arg-type]  # wrong on purpose
        assert refused.value.field == field

    def test_all_grants_together(self) -> None:
        """Numbers, names and denials are checked too."""
        for field, grants in (
            ("hosts", {"hosts": tuple(HostGrant(f"h{n}.test") for n in range(257))}),
            ("denied_hosts", {"denied_hosts": ("a*b",)}),
            ("env", {"env": (("A", "1"), ("A", "2"))}),
            ("env", {"env": (("A" * 256, ""),)}),
            ("kv", {"kv": "a\nb"}),
            ("memory", {"memory": "x" * 256}),
        ):
            with pytest.raises(InvalidSetting) as refused:
                Grants(**grants)  # type: ignore[arg-type]  # wrong on purpose
            assert refused.value.field == field
        assert Grants(denied_hosts=("A.Test.",)).denied_hosts == ("a.test",)
        assert not Grants(denied_hosts=("a.test",))
