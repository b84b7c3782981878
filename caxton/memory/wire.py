"""Requests and answers as bytes, between processes."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from caxton.errors import MessageTooLarge, ValidationError
from caxton.memory.client import ANSWERS
from caxton.memory.requests import Request

__all__ = ["MAX_BYTES", "decode_answer", "decode_request", "encode_answer", "encode_request"]

MAX_BYTES: Final = 48 * 1024 * 1024
"""Of one request or answer; a frame holds 64 MiB."""

_encode: Final = msgspec.msgpack.Encoder().encode
_requests: Final = msgspec.msgpack.Decoder(Request)
_answers: Final = {kind: msgspec.msgpack.Decoder(answer) for kind, answer in ANSWERS.items()}


def _encoded(value: Any, field: str) -> bytes:
    try:
        raw = _encode(value)
    except (TypeError, ValueError, OverflowError, UnicodeEncodeError) as error:
        # What cannot be sent could not be kept either.
        raise ValidationError(field=field, value=str(error), allowed="what JSON can say") from error
    if len(raw) > MAX_BYTES:
        raise MessageTooLarge(field=field, size=len(raw), limit=MAX_BYTES)
    return raw


def encode_request(request: Request) -> bytes:
    """A request as bytes.

    Raises:
        ValidationError: it holds what cannot be sent.
        MessageTooLarge: it is over 48 MiB.
    """
    return _encoded(request, "request")


def decode_request(raw: bytes) -> Request:
    """A request from its bytes.

    Raises:
        ValidationError: a field is of another type.
    """
    try:
        request: Request = _requests.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValidationError(field="request", value=str(error), allowed="a request") from error
    return request


def encode_answer(answer: Any) -> bytes:
    """An answer as bytes.

    Raises:
        MessageTooLarge: it is over 48 MiB. Fewer things at a time make it smaller.
    """
    return _encoded(answer, "answer of the memory")


def decode_answer(request: Request, raw: bytes) -> Any:
    """The answer to ``request`` from its bytes."""
    return _answers[type(request)].decode(raw)
