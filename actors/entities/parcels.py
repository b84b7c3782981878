"""Hand-off messages as plain values, which travel over any codec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.entities.handoff import Bye, Deliver, HandOver, Mark, Report, SlotView, View
from actors.entities.sharded import Answer, Parcel
from actors.errors import NotEncodable
from actors.remote.codec import Codec

__all__ = ["Refuse", "pack", "refuse_all", "unpack"]

Refuse = Callable[[str, Parcel, str], None]
"""Takes entity id, message and reason of what cannot travel."""


def _parcel(codec: Codec, parcel: Parcel) -> list[Any]:
    kind = codec.kind(parcel.message)
    data = codec.encode(kind, [parcel.message])
    return [kind, data, parcel.asker, parcel.number, parcel.left_s]


def _opened(codec: Codec, item: list[Any]) -> Parcel:
    kind, data, asker, number, left_s = item
    return Parcel(codec.decode(kind, data)[0], asker, number, left_s)


def refuse_all(message: Any, refuse: Refuse, reason: str) -> None:
    """Tell ``refuse`` of everything in a message that was for an entity."""
    if isinstance(message, Deliver):
        refuse(message.entity_id, message.payload, reason)
    elif isinstance(message, HandOver):
        for entity_id, parcel in message.messages:
            refuse(entity_id, parcel, reason)


def pack(codec: Codec, message: Any, refuse: Refuse) -> list[Any] | None:
    """Plain values of a message; None when nothing of it can travel, which ``refuse`` is told."""
    if isinstance(message, Deliver):
        try:
            payload = _parcel(codec, message.payload)
        except NotEncodable as error:
            refuse(message.entity_id, message.payload, error.code)
            return None
        return ["deliver", message.slot, message.round, message.entity_id, payload]
    if isinstance(message, Mark):
        return ["mark", message.slot, message.round]
    if isinstance(message, Bye):
        return ["bye", message.incarnation]
    if isinstance(message, HandOver):
        payloads = []
        for entity_id, parcel in message.messages:
            try:
                payloads.append([entity_id, _parcel(codec, parcel)])
            except NotEncodable as error:
                refuse(entity_id, parcel, error.code)
        return ["hand_over", message.slot, message.round, payloads]
    if isinstance(message, Answer):
        try:
            kind = codec.kind(message.value)
            data = codec.encode(kind, [message.value])
        except NotEncodable as error:
            return ["answer", message.number, "", b"", "bad_answer", str(error)]
        return ["answer", message.number, kind, data, message.reason, message.detail]
    if isinstance(message, Report):
        return [
            "report",
            message.node,
            message.incarnation,
            message.number,
            message.version,
            [list(one) for one in message.ready],
            message.held,
            message.leaving,
            message.proxy,
        ]
    if isinstance(message, View):
        changes = [
            [
                one.slot,
                one.round,
                one.owner,
                one.old,
                one.old_round,
                one.new,
                sorted(one.regions),
                [list(pair) for pair in sorted(one.left)],
            ]
            for one in message.changes
        ]
        return [
            "view",
            message.term,
            message.incarnation,
            message.number,
            message.status,
            message.since,
            message.version,
            changes,
        ]
    raise NotEncodable(type(message).__name__, "it is no message of a hand-off")


def unpack(codec: Codec, item: Any) -> Any:
    """The message of plain values.

    Raises:
        NotEncodable: they are of no message.
    """
    try:
        tag, *fields = item
        return _READERS[tag](codec, *fields)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise NotEncodable("hand-off message", f"malformed: {error!r}") from error


def _deliver(codec: Codec, slot: int, round_: int, entity_id: str, payload: list[Any]) -> Deliver:
    return Deliver(slot, round_, entity_id, _opened(codec, payload))


def _hand_over(codec: Codec, slot: int, round_: int, payloads: list[Any]) -> HandOver:
    return HandOver(slot, round_, tuple((key, _opened(codec, one)) for key, one in payloads))


def _answer(codec: Codec, number: int, kind: str, data: bytes, reason: str, detail: str) -> Answer:
    return Answer(number, None if reason else codec.decode(kind, data)[0], reason, detail)


def _report(_codec: Codec, *fields: Any) -> Report:
    node, incarnation, number, version, ready, held, leaving, proxy = fields
    pairs = tuple((slot, round_) for slot, round_ in ready)
    return Report(node, incarnation, number, version, pairs, held, leaving, proxy)


def _view(_codec: Codec, *fields: Any) -> View:
    term, incarnation, number, status, since, version, changes = fields
    found = tuple(_slot_view(*one) for one in changes)
    return View(term, incarnation, number, status, since, version, found)


def _slot_view(*fields: Any) -> SlotView:
    slot, round_, owner, old, old_round, new, regions, left = fields
    pairs = frozenset((node, last) for node, last in left)
    return SlotView(slot, round_, owner, old, old_round, new, frozenset(regions), pairs)


_READERS: dict[str, Callable[..., Any]] = {
    "deliver": _deliver,
    "mark": lambda _codec, slot, round_: Mark(slot, round_),
    "bye": lambda _codec, incarnation: Bye(incarnation),
    "hand_over": _hand_over,
    "answer": _answer,
    "report": _report,
    "view": _view,
}
