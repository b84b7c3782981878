"""Hypothesis strategies of the words that travel."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from caxton.message import DeliveryOptions, Message, Performative, TraceContext, make_message
from caxton.types import MessagePriority

ids = st.binary(min_size=16, max_size=16)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
contents = st.one_of(st.binary(max_size=200), texts.map(str.encode))
times = st.integers(min_value=0, max_value=4_102_444_800_000)
hexes = "0123456789abcdef"
traces = st.builds(
    TraceContext,
    st.text(hexes, min_size=32, max_size=32).filter(lambda text: text.strip("0") != ""),
    st.text(hexes, min_size=16, max_size=16).filter(lambda text: text.strip("0") != ""),
    st.booleans(),
)
options = st.builds(
    DeliveryOptions,
    priority=st.sampled_from(MessagePriority),
    timeout_ms=st.none() | st.integers(1_000, 300_000),
    require_receipt=st.booleans(),
    max_retries=st.integers(1, 10),
)


@st.composite
def messages(draw: Any) -> Message:
    """Any message that may be sent."""
    sender = draw(ids)
    by_name = draw(st.booleans())
    return make_message(
        draw(st.sampled_from(Performative)),
        sender=sender,
        receiver=None if by_name else draw(ids.filter(lambda one: one != sender)),
        capability=draw(names) if by_name else None,
        content=draw(contents),
        conversation_id=draw(ids),
        message_id=draw(ids),
        created_at=draw(times),
        reply_with=draw(st.none() | ids),
        in_reply_to=draw(st.none() | ids),
        reply_by=draw(st.none() | times),
        language=draw(st.none() | texts),
        ontology=draw(st.none() | texts),
        protocol=draw(st.none() | texts),
        trace_context=draw(st.none() | traces),
        delivery_options=draw(options),
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
