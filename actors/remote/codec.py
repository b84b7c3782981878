"""Codecs: how messages to actors of other processes travel.

The default speaks msgpack and knows plain values and the struct types it was told of. It never
runs code of what it reads, as pickle would.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from actors.errors import NotEncodable

__all__ = ["Codec", "StructCodec"]


class Codec(Protocol):
    """Turns batches of messages of one kind into bytes and back."""

    def kind(self, message: Any) -> str:
        """The name of a message's kind; messages of one kind are encoded together.

        Raises:
            NotEncodable: it cannot travel.
        """
        ...

    def encode(self, kind: str, messages: Sequence[Any]) -> bytes:
        """Bytes of messages of one kind.

        Raises:
            NotEncodable: one of them cannot travel.
        """
        ...

    def decode(self, kind: str, data: bytes) -> list[Any]:
        """The messages again.

        Raises:
            NotEncodable: the kind is unknown, or the bytes are not of it.
        """
        ...

    def decode_each(self, kind: str, data: bytes) -> list[Any]:
        """What can be read of a batch that ``decode`` cannot read as a whole.

        In the place of each message that cannot be read stands a ``NotEncodable``.

        Raises:
            NotEncodable: the kind is unknown, or not even the batch can be told apart.
        """
        ...


PLAIN = ""
"""Kind of messages made of None, booleans, numbers, text, bytes, lists and dicts."""
_PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, dict})


class StructCodec:
    """The default.

    What is inside of a message travels as msgpack has it: a tuple arrives as a list, and a struct
    only as one where the type of the field says so.

    Args:
        types: ``msgspec.Struct`` types that messages may have; each by its name, or its tag.
    """

    def __init__(self, types: Iterable[type[msgspec.Struct]] = ()) -> None:
        self._kinds: dict[type, str] = {}
        self._decoders: dict[str, msgspec.msgpack.Decoder[Any]] = {
            PLAIN: msgspec.msgpack.Decoder(list[Any])
        }
        self._one: dict[str, msgspec.msgpack.Decoder[Any]] = {PLAIN: msgspec.msgpack.Decoder()}
        self._encode = msgspec.msgpack.Encoder().encode
        for one in types:
            name = str(one.__struct_config__.tag or one.__name__)
            if name in self._decoders:
                raise ValueError(f"types: two are named {name!r}, one of a kind allowed")
            self._kinds[one] = name
            self._one[name] = msgspec.msgpack.Decoder(one)
            self._decoders[name] = msgspec.msgpack.Decoder(list[one])  # type: ignore[valid-type]  # a type at run time

    def kind(self, message: Any) -> str:
        """See ``Codec``."""
        kind = type(message)
        if kind in _PLAIN:
            return PLAIN
        found = self._kinds.get(kind)
        if found is None:
            raise NotEncodable(
                kind.__name__, "plain values and the struct types of the codec can travel"
            )
        return found

    def encode(self, kind: str, messages: Sequence[Any]) -> bytes:
        """See ``Codec``."""
        try:
            return self._encode(messages)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise NotEncodable(kind or "plain value", str(error)) from error

    def decode(self, kind: str, data: bytes) -> list[Any]:
        """See ``Codec``."""
        found: list[Any] = _decoded(self._decoders.get(kind), kind, data)
        return found

    def decode_each(self, kind: str, data: bytes) -> list[Any]:
        """See ``Codec``."""
        decoder = self._one.get(kind)
        found: list[Any] = []
        for raw in _decoded(_raw_decoder, kind, data):
            try:
                found.append(_decoded(decoder, kind, bytes(raw)))
            except NotEncodable as error:
                found.append(error)
        return found


_raw_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])


def _decoded(decoder: msgspec.msgpack.Decoder[Any] | None, kind: str, data: bytes) -> Any:
    if decoder is None:
        raise NotEncodable(kind, "this side does not know the kind")
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotEncodable(kind or "plain value", str(error)) from error
