"""Messages: one address, bounded fields, the same in every form; garbage changes nothing."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import json_values, messages

from caxton.errors import CaxtonError, MessageTooLarge, ValidationError
from caxton.message import (
    FailureReason,
    Message,
    Performative,
    decode,
    encode,
    from_json,
    make_message,
    make_reply,
    now_ms,
    parse_performative,
    parse_traceparent,
    to_json,
)
from caxton.moments import parse_time
from caxton.types import derived_id, format_id, new_id

A, B = new_id(), new_id()


def test_fipa_has_22_acts_and_caxton_two_more() -> None:
    """SC00037, HEARTBEAT and CAPABILITY."""
    assert len(Performative) == 24
    assert len(FailureReason) == 9


@pytest.mark.parametrize("act", list(Performative))
def test_acts_are_read_in_any_spelling(act: Performative) -> None:
    """Case, hyphen and underscore do not matter."""
    for text in (act.value, act.value.upper(), act.value.replace("-", "_"), f" {act.value} "):
        assert parse_performative(text) is act
    assert parse_performative(act) is act


def test_query_is_query_ref() -> None:
    """The short form of the old documents."""
    assert parse_performative("QUERY") is Performative.QUERY_REF


@pytest.mark.parametrize(("wrong", "near"), [("requst", "request"), ("informmm", "inform")])
def test_an_unknown_act_names_the_nearest(wrong: str, near: str) -> None:
    """A typing mistake is told."""
    with pytest.raises(ValidationError, match=f"did you mean {near}"):
        parse_performative(wrong)


@pytest.mark.parametrize("wrong", [None, 3, [], "zzzzzz"])
def test_what_is_no_act_is_refused(wrong: object) -> None:
    """Without a hint when nothing is near."""
    with pytest.raises(ValidationError, match="FIPA performative"):
        parse_performative(wrong)


@given(messages())
def test_msgpack_keeps_everything(message: Message) -> None:
    """decode is the inverse of encode."""
    assert decode(encode(message)) == message


@given(messages())
def test_json_keeps_everything(message: Message) -> None:
    """from_json is the inverse of to_json, through real JSON text."""
    assert from_json(orjson.loads(orjson.dumps(to_json(message)))) == message


@given(st.binary(max_size=300))
def test_garbage_does_not_decode(data: bytes) -> None:
    """One typed error, whatever the bytes."""
    with pytest.raises(ValidationError) as refused:
        decode(data)
    assert refused.value.fields["field"] in ("message", "receiver")


@given(messages(), st.data())
def test_a_damaged_message_decodes_to_a_message_or_an_error(message: Message, data: Any) -> None:
    """A changed byte makes another message or a ValidationError, never anything else."""
    raw = bytearray(encode(message))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        result: object = decode(bytes(raw))
    except ValidationError as error:
        result = error
    assert isinstance(result, Message | ValidationError)


def test_a_deeply_nested_frame_is_an_error() -> None:
    """No recursion limit reaches the caller."""
    with pytest.raises(ValidationError):
        decode(b"\x91" * 100_000)


def test_exactly_one_address() -> None:
    """Neither receiver nor capability, or both, is no message."""
    with pytest.raises(ValidationError, match="neither"):
        make_message("inform", sender=A)
    with pytest.raises(ValidationError, match="both"):
        make_message("inform", sender=A, receiver=B, capability="x")


def test_nobody_writes_to_himself() -> None:
    """The receiver is another agent."""
    with pytest.raises(ValidationError, match="another agent"):
        make_message("inform", sender=A, receiver=A)


def test_content_has_a_limit() -> None:
    """At the limit it is taken, one byte more is too large."""
    assert len(make_message("inform", sender=A, receiver=B, content=b"x" * 1_024,
                            max_content=1_024).content) == 1_024  # fmt: skip
    with pytest.raises(MessageTooLarge, match="1025 bytes given, at most 1024"):
        make_message("inform", sender=A, receiver=B, content=b"x" * 1_025, max_content=1_024)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("language", "x" * 51),
        ("ontology", "x" * 101),
        ("protocol", ""),
        ("capability", "a b"),
        ("capability", "x" * 101),
    ],
)
def test_fields_have_their_ranges(field: str, value: str) -> None:
    """The error names the field."""
    address = {} if field == "capability" else {"receiver": B}
    with pytest.raises(ValidationError) as refused:
        make_message("inform", sender=A, **address, **{field: value})  # type: ignore[arg-type]
    assert refused.value.fields["field"] == field


def test_a_reply_goes_back_in_its_conversation() -> None:
    """Sender, conversation, in_reply_to and id follow from what it answers."""
    asked = make_message("request", sender=A, capability="x", language="json", protocol="p")
    reply = make_reply(asked, "inform", "yes", sender=B)
    assert (reply.receiver, reply.conversation_id) == (A, asked.conversation_id)
    assert reply.in_reply_to == asked.message_id
    assert reply.message_id == derived_id(asked.message_id, 0)
    assert (reply.language, reply.protocol, reply.text) == ("json", "p", "yes")
    tied = make_message("request", sender=A, capability="x", reply_with=B)
    assert make_reply(tied, "inform", "yes", sender=B).in_reply_to == B


def body(**more: object) -> dict[str, object]:
    """A good body with changes."""
    return {"capability": "x", "content": "hi", **more}


WRONG = [
    ({"capabilty": "x"}, "capabilty"),
    ({"delivery_options": {"prio": 1}}, "delivery_options.prio"),
    ({"delivery_options": 3}, "delivery_options"),
    ({"delivery_options": {"priority": "urgent"}}, "delivery_options.priority"),
    ({"delivery_options": {"timeout_ms": 999}}, "delivery_options.timeout_ms"),
    ({"delivery_options": {"max_retries": 11}}, "delivery_options.max_retries"),
    ({"delivery_options": {"require_receipt": 1}}, "delivery_options.require_receipt"),
    ({"message_id": "7"}, "message_id"),
    ({"sender": 7}, "sender"),
    ({"language": 7}, "language"),
    ({"created_at": "yesterday"}, "created_at"),
    ({"created_at": "2026-01-01T00:00:00"}, "created_at"),
    ({"reply_by": 5}, "reply_by"),
    ({"trace_context": []}, "trace_context"),
    ({"trace_context": {"traceparent": "00-0-0-0"}}, "trace_context.traceparent"),
    ({"trace_context": {"parent": "x"}}, "trace_context.parent"),
    ({"content_base64": "aGk="}, "content"),
    ({"content": "\ud800"}, "content"),
    ({"performative": "shout"}, "performative"),
]


@pytest.mark.parametrize(("change", "field"), WRONG)
def test_a_wrong_body_names_its_field(change: dict[str, object], field: str) -> None:
    """One error, for the first field that is wrong."""
    with pytest.raises(ValidationError) as refused:
        from_json(body(**change), sender=A)
    assert refused.value.fields["field"] == field


def test_bodies_that_are_no_objects_or_have_no_sender() -> None:
    """The two errors before any field."""
    with pytest.raises(ValidationError, match="JSON object"):
        from_json([1], sender=A)
    with pytest.raises(ValidationError) as refused:
        from_json(body())
    assert refused.value.fields["field"] == "sender"


def test_an_unknown_field_names_the_nearest() -> None:
    """A typing mistake is told."""
    with pytest.raises(ValidationError, match="did you mean `capability`"):
        from_json({"capabilty": "x"}, sender=A)


def test_content_may_be_text_json_or_base64() -> None:
    """JSON content is kept as JSON text; bytes travel as base64."""
    assert from_json(body(content={"a": [1]}), sender=A).content == b'{"a":[1]}'
    assert from_json(body(content=None), sender=A).content == b""
    encoded = base64.b64encode(b"\xff\x00").decode()
    message = from_json({"capability": "x", "content_base64": encoded}, sender=A)
    assert message.content == b"\xff\x00"
    assert to_json(message)["content_base64"] == encoded
    assert "\ufffd" in message.text
    with pytest.raises(ValidationError, match="base64"):
        from_json({"capability": "x", "content_base64": "*"}, sender=A)
    with pytest.raises(ValidationError):
        from_json(body(content=2**70), sender=A)


KEYS = st.sampled_from([*sorted(to_json(make_message("inform", sender=A, receiver=B))), "x"])


@given(st.dictionaries(KEYS | st.text(max_size=8), json_values, max_size=6))
def test_garbage_bodies_give_a_message_or_one_typed_error(given_body: dict[str, object]) -> None:
    """Near-valid JSON never raises anything else."""
    try:
        result: object = from_json(given_body, sender=A)
    except CaxtonError as error:
        result = error
    assert isinstance(result, Message | ValidationError | MessageTooLarge)


def test_times_need_their_zone() -> None:
    """RFC 3339."""
    assert parse_time("1970-01-01T00:00:01Z", "t") == 1_000
    assert parse_time("1970-01-01T01:00:00.5+01:00", "t") == 500
    assert now_ms() > 1_700_000_000_000


@pytest.mark.parametrize(
    "wrong",
    ["", None, "00-" + "1" * 32 + "-" + "2" * 16, "00-" + "1" * 32 + "-" + "2" * 16 + "-zz"],
)
def test_what_is_no_traceparent_is_refused(wrong: object) -> None:
    """Version 00 with four parts."""
    with pytest.raises(ValidationError):
        parse_traceparent(wrong)


def test_a_traceparent_is_read_and_written() -> None:
    """The same text comes back."""
    text = f"00-{'1' * 32}-{'2' * 16}-01"
    context = parse_traceparent(text)
    assert context.sampled
    assert context.traceparent == text


def test_ids_show_as_uuids() -> None:
    """The JSON form is for people and other programs."""
    shown = to_json(make_message("inform", sender=A, receiver=B))
    assert shown["sender"] == format_id(A)
    assert msgspec.json.encode(shown)
