"""Each grant that is used or refused is told once a minute, and counted meanwhile."""

from __future__ import annotations

import pytest

from caxton.tools import grant_audit
from caxton.tools.grant_audit import GrantAudit
from sandbox.grant_events import GrantEvent

GET = GrantEvent("host", "GET https://api.example.com:443", allowed=True)
NO = GrantEvent("host", "GET https://evil.example:443", allowed=False, reason="not granted")


class Told:
    """What was told, and the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.records: list[tuple[str, str, str]] = []
        self.audit = GrantAudit(lambda *record: self.records.append(record), lambda: self.now)


def test_the_first_use_is_told_at_once() -> None:
    """By whom and what; refusals with their reason."""
    told = Told()
    told.audit("analyst", GET)
    told.audit("analyst", NO)
    told.audit("other", GET)
    assert told.records == [
        ("grant.used", "analyst", "host: GET https://api.example.com:443"),
        ("grant.refused", "analyst", "host: GET https://evil.example:443 (not granted)"),
        ("grant.used", "other", "host: GET https://api.example.com:443"),
    ]


def test_repeats_are_told_together() -> None:
    """After a minute, with their number; what came once is not told again."""
    told = Told()
    for _ in range(5):
        told.audit("analyst", GET)
    told.audit("other", GET)
    told.now = 60.0
    told.records.clear()
    told.audit("third", GET)
    assert told.records == [
        ("grant.used", "analyst", "host: GET https://api.example.com:443 (4 times more)"),
        ("grant.used", "third", "host: GET https://api.example.com:443"),
    ]


def test_what_was_counted_is_told_at_the_end() -> None:
    """Nothing is lost by a stop in good order."""
    told = Told()
    for _ in range(3):
        told.audit("analyst", NO)
    told.audit.close()
    assert told.records[-1][2].endswith("(2 times more)")
    told.audit.close()
    assert len(told.records) == 2


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that asks for ever new hosts makes the trail longer, not the memory."""
    monkeypatch.setattr(grant_audit, "KNOWN", 10)
    told = Told()
    for number in range(100):
        told.audit("analyst", GrantEvent("host", f"GET https://h{number}:443", allowed=False))
    assert len(told.records) == 100
    assert len(told.audit._seen) == 10
