"""WASI ``poll_oneoff`` with a deadline.

An engine's own version sleeps in the host, where neither fuel nor epoch reach. This one waits at
most until the call's deadline and then reports that it passed. Files and standard streams are
always ready, as in POSIX for regular files.
Source: WASI snapshot preview 1, ``subscription`` (48 bytes) and ``event`` (32 bytes).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Final

from sandbox.host import GuestMemory

MOST_SUBSCRIPTIONS: Final = 64

SUCCESS: Final = 0
EFAULT: Final = 21
EINVAL: Final = 28

_CLOCK: Final = 0
_ABSOLUTE: Final = 1
_MONOTONIC: Final = 1
_SUBSCRIPTION: Final = 48
_EVENT: Final = 32
_CLOCK_FIELDS: Final = struct.Struct("<IxxxxQQH")

NS: Final = 1_000_000_000


def poll_oneoff(
    memory: GuestMemory,
    subscriptions: int,
    events: int,
    count: int,
    stored: int,
    *,
    deadline: float,
    sleep: Callable[[float], None] = time.sleep,
) -> int | None:
    """Wait for the first of ``count`` subscriptions and write its event; gives a WASI errno.

    ``deadline`` is on ``time.monotonic()``. None: it passed, the call must be ended.
    """
    if not 1 <= count <= MOST_SUBSCRIPTIONS:
        return EINVAL
    size = memory.size()
    ends = (subscriptions + _SUBSCRIPTION * count, events + _EVENT * count, stored + 4)
    if max(ends) > size:
        return EFAULT
    first_clock: tuple[float, bytes] | None = None
    ready: list[bytes] = []
    for index in range(count):
        raw = memory.read(subscriptions + index * _SUBSCRIPTION, _SUBSCRIPTION)
        userdata, tag = struct.unpack_from("<QB", raw)
        if tag == _CLOCK:
            wait = _wait_s(raw)
            if first_clock is None or wait < first_clock[0]:
                first_clock = (wait, _event(userdata, tag))
        else:
            ready.append(_event(userdata, tag))
    if not ready and first_clock is not None:
        wait, event = first_clock
        left = deadline - time.monotonic()
        sleep(max(0.0, min(wait, left)))
        if wait >= left:
            return None
        ready.append(event)
    memory.write(events, b"".join(ready))
    memory.write(stored, struct.pack("<I", len(ready)))
    return SUCCESS


def _wait_s(raw: bytes) -> float:
    clock, timeout, _precision, flags = _CLOCK_FIELDS.unpack_from(raw, 16)
    timeout = int(timeout)
    if not flags & _ABSOLUTE:
        return timeout / NS
    now = time.monotonic_ns() if clock == _MONOTONIC else time.time_ns()
    return max(0, timeout - now) / NS


def _event(userdata: int, tag: int) -> bytes:
    return struct.pack("<QHBxxxxxQHxxxxxx", userdata, 0, tag, 0, 0)
