"""Reading the JSON of a guest's question: bounded, of known fields, of the right types."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection
from typing import Any

from sandbox.services.request import Refusal, ServiceError

__all__ = ["bad_request", "read_base64", "read_integer", "read_object"]


def bad_request(message: str) -> ServiceError:
    """The refusal of a question that is not of its form."""
    return ServiceError(Refusal.BAD_REQUEST, message)


def read_object(body: bytes, fields: Collection[str], most: int) -> dict[str, Any]:
    """The object a question is, when it has no other fields and is at most ``most`` bytes.

    Raises ``ServiceError``.
    """
    if len(body) > most:
        raise ServiceError(
            Refusal.TOO_LARGE, f"a request of {len(body)} bytes; at most {most} are allowed"
        )
    try:
        found = json.loads(body)
    except RecursionError:
        raise bad_request("the request is nested too deep") from None
    except ValueError as error:
        raise bad_request(f"the request is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise bad_request("the request must be a JSON object")
    unknown = sorted(found.keys() - set(fields))
    if unknown:
        raise bad_request(f"unknown field {unknown[0][:80]!r}; known are {', '.join(fields)}")
    return found


def read_integer(request: dict[str, Any], name: str, default: int, low: int, high: int) -> int:
    """An integer field within its range. Raises ``ServiceError``."""
    value = request.get(name, default)
    if type(value) is not int or not low <= value <= high:
        raise bad_request(f"{name} must be an integer from {low} to {high}")
    return value


def read_base64(name: str, value: object) -> bytes:
    """The bytes of a base64 text. Raises ``ServiceError``."""
    if not isinstance(value, str):
        raise bad_request(f"{name} must be a text in base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(f"{name} is not base64") from None
