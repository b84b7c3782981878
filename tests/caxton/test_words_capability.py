"""Capability addresses: names, and ranges of versions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caxton.capability import fits, parse_capability, split_capability
from caxton.errors import ValidationError
from caxton.message import make_message
from caxton.types import new_id

VERSIONS = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))


@pytest.mark.parametrize(
    ("address", "version", "fit"),
    [
        ("billing", "0.0.1", True),
        ("billing@>=1.2,<2", "1.2.0", True),
        ("billing@>=1.2,<2", "1.1.9", False),
        ("billing@>=1.2,<2", "2.0.0", False),
        ("billing@1.3", "1.3.7", True),
        ("billing@1.3", "1.30.0", False),
        ("billing@1", "1.9.0", True),
        ("billing@~=1.2", "1.9.0", True),
        ("billing@!=1.2.0", "1.2.0", False),
        ("billing@>=1.0", "2.0.0-beta.1", False),
        ("billing@>=2.0.0b1", "2.0.0-beta.1", True),
        ("billing@>=1.0", "2.0.0-nightly.x.7", False),
        ("billing@>=1.0", "", False),
    ],
)
def test_a_range_takes_the_versions_inside_it(address: str, version: str, fit: bool) -> None:
    """A bare version takes its patches; a pre-release fits only a range that names one."""
    assert parse_capability(address) == address
    assert fits(version, split_capability(address)[1]) is fit


@given(VERSIONS, VERSIONS, VERSIONS)
def test_a_half_open_range_is_the_versions_between(
    version: tuple[int, int, int], low: tuple[int, int, int], high: tuple[int, int, int]
) -> None:
    """``>=LOW,<HIGH`` takes exactly what numbers say, part by part."""
    text, least, most = (".".join(map(str, one)) for one in (version, low, high))
    assert fits(text, f">={least},<{most}") is (low <= version < high)


@pytest.mark.parametrize(
    "address", ["", "@1.2", "billing@", "billing@x", "billing@>=", "bil ling", "a@b@1", "a@>=1;rm"]
)
def test_what_is_no_address_is_refused_by_name(address: str) -> None:
    """The error names the field, the value and what is allowed; a message is not built."""
    with pytest.raises(ValidationError) as refusal:
        make_message("inform", sender=new_id(), capability=address)
    assert refusal.value.fields["field"] == "capability"
    assert refusal.value.fields["value"] == address


@given(st.text(max_size=40))
def test_any_text_after_the_name_is_taken_or_refused(text: str) -> None:
    """Nothing but a ValidationError comes of any range."""
    try:
        address = parse_capability(f"name@{text}")
    except ValidationError:
        return
    fits("1.0.0", split_capability(address)[1])
