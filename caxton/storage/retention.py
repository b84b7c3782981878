"""Retention: which log records a journal removes, by number, age and size.

What is pending, and what a start would have to read, is never removed. A commit removes a bounded
number of records, so that pruning never makes one slow.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import lmdb
import msgspec

from caxton.message import decode
from caxton.storage.records import LogRecord

__all__ = ["Retention"]

PER_COMMIT: Final = 64
"""Log records that one commit removes at most."""
_KEY: Final = struct.Struct(">QQ")
_SEQ: Final = struct.Struct(">Q")


class Retention:
    """What a journal keeps of messages that were handled. The first limit that is reached counts.

    Args:
        messages: at most so many.
        age_ms: at most so old; 0 for any age.
        log_bytes: at most so large; 0 for any size. The file does not shrink: what is removed is
            written over.
    """

    def __init__(self, messages: int, age_ms: int = 0, log_bytes: int = 0) -> None:
        self.messages = messages
        self.age_ms = age_ms
        self.log_bytes = log_bytes
        self._decoder = msgspec.msgpack.Decoder(LogRecord)
        self._oldest = (-1, 0)
        """First number of the oldest record, and when it was written."""

    def prune(
        self,
        txn: lmdb.Transaction[bytes],
        tables: Mapping[str, Any],
        first_kept: int,
        following: int,
        replay_from: int,
        now_ms: int,
    ) -> int:
        """Remove what is over a limit; returns the first number that is kept.

        Args:
            txn: a write transaction.
            tables: of the journal.
            first_kept: the first number that is kept now.
            following: the number that the next message gets.
            replay_from: the first number that a start would read.
            now_ms: milliseconds since 1970.
        """
        enough = following - self.messages
        if not self.age_ms and not self.log_bytes and first_kept >= min(enough, replay_from):
            return first_kept
        safe = replay_from
        pending = txn.cursor(tables["pending"])
        if pending.first():
            safe = min(safe, _SEQ.unpack(pending.key())[0])
        log = tables["log"]
        cursor = txn.cursor(log)
        too_large = self._too_large(txn, log)
        for _ in range(PER_COMMIT):
            if not cursor.first():
                break
            key, value = cursor.key(), cursor.value
            if not cursor.next():
                break
            after = _KEY.unpack(cursor.key())[0]
            if after > safe:
                break
            cursor.prev()
            if after > enough and not too_large() and not self._too_old(key, value, now_ms):
                break
            txn.delete(key, db=log)
            first_kept = after
        return first_kept

    def _too_large(self, txn: lmdb.Transaction[bytes], log: Any) -> Callable[[], bool]:
        def over() -> bool:
            if not self.log_bytes:
                return False
            stat = txn.stat(log)
            pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
            return bool(pages * stat["psize"] > self.log_bytes)

        return over

    def _too_old(self, key: bytes, value: Callable[[], bytes], now_ms: int) -> bool:
        if not self.age_ms:
            return False
        first = int(_KEY.unpack(key)[0])
        if self._oldest[0] != first:
            self._oldest = (first, self._written(value()))
        return now_ms - self._oldest[1] > self.age_ms

    def _written(self, value: bytes) -> int:
        record = self._decoder.decode(value)
        if record.at or not record.messages:
            return record.at
        # Written before records had a time.
        return decode(record.messages[0]).created_at
