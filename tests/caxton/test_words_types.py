"""Every bounded type at each of its bounds, and the ids."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caxton.errors import ValidationError
from caxton.types import (
    BOUNDS,
    Bound,
    MessagePriority,
    derived_id,
    format_id,
    named_id,
    new_id,
    parse_id,
    parse_priority,
)

# name, base, low, high, default: the table of the design, written out once more.
TABLE = [
    ("AgentName", str, 1, 100, None),
    ("CapabilityName", str, 1, 100, None),
    ("CapabilityDescription", str, 1, 1_000, None),
    ("ContentLanguage", str, 1, 50, None),
    ("OntologyName", str, 1, 100, None),
    ("ProtocolName", str, 1, 100, None),
    ("TraceId", str, 32, 32, None),
    ("SpanId", str, 16, 16, None),
    ("MessageContent", bytes, 0, 10_485_760, None),
    ("MessageTimeoutMs", int, 1_000, 300_000, 30_000),
    ("MaxRetries", int, 1, 10, 3),
    ("RetryDelayMs", int, 100, 30_000, 1_000),
    ("RetryBackoffFactor", float, 1.1, 5.0, 2.0),
    ("ChannelCapacity", int, 1, 1_000_000, 1_000),
    ("AgentQueueSize", int, 1, 10_000, 1_000),
    ("MessageBatchSize", int, 1, 1_000, 100),
    ("WorkerCount", int, 1, 32, 4),
    ("HealthCheckIntervalMs", int, 1_000, 300_000, 30_000),
    ("ConversationTimeoutMs", int, 300_000, 86_400_000, 1_800_000),
    ("MaxConversationParticipants", int, 1, 100, 10),
    ("CircuitBreakerThreshold", int, 1, 100, 10),
    ("CircuitBreakerTimeoutMs", int, 5_000, 300_000, 60_000),
    ("DeadLetterQueueSize", int, 10_000, 1_000_000, 100_000),
    ("TraceSamplingRatio", float, 0.0, 1.0, 0.1),
    ("Percentage", float, 0.0, 100.0, None),
]


def value(base: type, size: float) -> object:
    """A value of this base at this bound."""
    if base is str:
        return "a" * int(size)
    if base is bytes:
        return b"a" * int(size)
    return base(size)


def outside(base: type, size: float, step: int) -> object:
    """The nearest value beyond the bound."""
    if base is float:
        return size + step * 0.001
    return value(base, size + step)


def test_the_table_is_complete() -> None:
    """Each bounded type of the design exists, and no other."""
    assert [row[0] for row in TABLE] == list(BOUNDS)


@pytest.mark.parametrize(("name", "base", "low", "high", "default"), TABLE)
def test_bounds_are_inclusive_and_hard(
    name: str, base: type, low: float, high: float, default: object
) -> None:
    """Both ends are taken, the next values are refused by name, value and range."""
    bound = BOUNDS[name]
    assert bound.default == default
    for inside in (value(base, low), value(base, high)):
        assert bound.parse(inside) == inside
    beyond = [outside(base, high, 1)]
    if low > 0 or base in (int, float):
        beyond.append(outside(base, low, -1))
    for wrong in beyond:
        with pytest.raises(ValidationError) as refused:
            bound.parse(wrong, "some.field")
        assert refused.value.fields["field"] == "some.field"
        assert refused.value.fields["allowed"] == bound.allowed
        assert "some.field" in str(refused.value)


@pytest.mark.parametrize("name", list(BOUNDS))
def test_wrong_types_are_refused(name: str) -> None:
    """None, booleans, lists and the other kind of text are no values."""
    bound = BOUNDS[name]
    other: object = b"abc" if bound.base is str else "abc"
    for wrong in (None, True, [], {}, other, float("nan")):
        with pytest.raises(ValidationError):
            bound.parse(wrong)


@pytest.mark.parametrize("wrong", ["-a", ".a", "_a", "a b", "a/b", "ä", "a\n", ""])
def test_names_have_their_pattern(wrong: str) -> None:
    """A name begins with a letter or digit and has no blanks or slashes."""
    with pytest.raises(ValidationError):
        BOUNDS["AgentName"].parse(wrong)


@pytest.mark.parametrize("wrong", ["0" * 32, "A" * 32, "g" * 32])
def test_trace_ids_are_lower_hex_and_not_zero(wrong: str) -> None:
    """W3C: all zeros and upper case are invalid."""
    with pytest.raises(ValidationError):
        BOUNDS["TraceId"].parse(wrong)


def test_an_integer_is_a_float_where_one_is_wanted() -> None:
    """1 is 1.0."""
    ratio = BOUNDS["TraceSamplingRatio"].parse(1)
    assert ratio == 1.0
    assert type(ratio) is float


def test_a_range_of_one_length_says_so() -> None:
    """No `32 to 32`."""
    assert BOUNDS["TraceId"].allowed.startswith("32 characters matching")
    assert Bound("x", int, 1, 2_000, unit="ms").allowed == "1 to 2,000 ms"


@given(st.binary(min_size=16, max_size=16))
def test_ids_have_one_text(raw: bytes) -> None:
    """Text form and bytes say the same, as the standard library reads them."""
    text = format_id(raw)
    assert uuid.UUID(text).bytes == raw
    assert parse_id(text, "id") == raw
    assert parse_id(text.upper(), "id") == raw


@given(st.one_of(st.text(), st.integers(), st.none(), st.binary()))
def test_what_is_no_uuid_is_refused(garbage: object) -> None:
    """One error that names the field."""
    if isinstance(garbage, str) and re.fullmatch(r"[0-9a-fA-F-]{32,36}", garbage):
        return
    with pytest.raises(ValidationError) as refused:
        parse_id(garbage, "conversation")
    assert refused.value.fields["field"] == "conversation"


def test_ids_made_later_sort_later() -> None:
    """UUIDv7."""
    made = [new_id() for _ in range(1_000)]
    assert made == sorted(made)
    assert len(set(made)) == 1_000
    assert uuid.UUID(bytes=made[0]).version == 7


def test_named_ids_are_the_same_every_time() -> None:
    """UUIDv5 of space and name."""
    space = new_id()
    assert named_id(space, "a") == named_id(space, "a")
    assert named_id(space, "a") != named_id(space, "b")
    assert named_id(space, "a") != named_id(new_id(), "a")


@given(st.binary(min_size=16, max_size=16), st.integers(0, 1 << 33), st.integers(0, 1 << 33))
def test_derived_ids_differ_by_index_and_keep_their_time(raw: bytes, a: int, b: int) -> None:
    """The same parent and index give the same id; another index another one."""
    assert derived_id(raw, a) == derived_id(raw, a)
    assert len(derived_id(raw, a)) == 16
    assert derived_id(raw, a)[:8] == raw[:8]
    if abs(a - b) in range(1, 1 << 20):
        assert derived_id(raw, a) != derived_id(raw, b)


@pytest.mark.parametrize(
    ("given_value", "priority"),
    [("low", 1), ("Normal", 5), ("HIGH", 8), ("critical", 10), (1, 1), (10, 10)],
)
def test_priorities_by_name_or_number(given_value: object, priority: int) -> None:
    """Any case, or the number."""
    assert parse_priority(given_value) is MessagePriority(priority)


@pytest.mark.parametrize("wrong", [0, 2, 11, True, "urgent", None, 5.0, []])
def test_other_priorities_are_refused(wrong: object) -> None:
    """One error that lists them."""
    with pytest.raises(ValidationError, match="normal 5"):
        parse_priority(wrong)
