"""Questions of guests: who answers, what is refused, and what never answers."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
from typing import Any

import pytest

from sandbox import DatabaseGrant, Grants, Questions, Reason, SandboxError
from sandbox.grant_events import GrantEvent, OnGrant
from sandbox.services.request import HostRequest, Refusal, Service, ServiceError
from sandbox.worker import read_frame

GRANTED = Grants(kv="space")


class Keys:
    """A store of three keys."""

    def __init__(self) -> None:
        self.held = {("space", b"a"): b"1", ("space", b"ab"): b"2", ("other", b"a"): b"3"}

    def get(self, namespace: str, key: bytes) -> bytes | None:
        """See ``KeyReader``."""
        return self.held.get((namespace, key))

    def keys(self, namespace: str, prefix: bytes) -> list[bytes]:
        """See ``KeyReader``."""
        return [key for space, key in self.held if space == namespace and key.startswith(prefix)]


class Answers:
    """Does with a question what it was told to do."""

    def __init__(self, outcome: object = b"answer") -> None:
        self.outcome = outcome
        self.asked: list[HostRequest] = []

    async def answer(self, request: HostRequest, on_grant: OnGrant) -> bytes | None:
        """See ``Answerer``."""
        self.asked.append(request)
        on_grant(GrantEvent("http", "asked", allowed=True))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if self.outcome is None:
            await asyncio.Event().wait()
        assert isinstance(self.outcome, bytes)
        return self.outcome


async def ask(
    questions: Questions,
    service: object,
    key: bytes = b"",
    body: bytes = b"",
    grants: Grants = GRANTED,
    wall_s: float = 10,
) -> tuple[dict[str, Any], bytes]:
    """What a worker gets for a question."""
    header = {"ask": service, "key": len(key)}
    deadline = time.monotonic() + wall_s
    frame = await questions.frame(header, key + body, grants, deadline, "owner")
    got = read_frame(io.BytesIO(frame))
    assert got is not None
    return got


async def test_keys_are_answered_from_the_guests_own_part() -> None:
    """A key of another part is not there."""
    questions = Questions(keys=Keys())
    assert (await ask(questions, "kv_get", b"a"))[1] == b"1"
    assert (await ask(questions, "kv_get", b"nothing"))[0]["absent"] is True
    header, body = await ask(questions, "kv_list", b"a")
    assert (header["absent"], json.loads(body)) == (False, ["a", "ab"])


async def test_a_guest_in_this_process_gets_the_same_answers() -> None:
    """Without waiting; other services are for workers only."""
    inline = Questions(keys=Keys()).inline(GRANTED, "owner")
    assert inline(Service.KV_GET, b"ab", b"") == b"2"
    with pytest.raises(ServiceError) as refused:
        Questions(keys=Keys()).inline(Grants(), "owner")(Service.KV_GET, b"a", b"")
    assert refused.value.code is Refusal.NOT_GRANTED
    with pytest.raises(ServiceError) as nobody:
        Questions().inline(GRANTED, "owner")(Service.KV_GET, b"a", b"")
    assert nobody.value.code is Refusal.UNAVAILABLE


@pytest.mark.parametrize("service", ["http", "query", "memory_search"])
async def test_other_questions_go_to_the_answerer_with_the_grants(service: str) -> None:
    """The body alone, the grants of the guest, the deadline of its call."""
    grants = Grants(databases=(DatabaseGrant("d", "file.db"),))
    answers = Answers()
    header, body = await ask(Questions(answerer=answers), service, b"", b"question", grants)
    assert (header["absent"], body) == (False, b"answer")
    (asked,) = answers.asked
    assert (asked.service, asked.body, asked.grants) == (Service(service), b"question", grants)
    assert 0 < asked.deadline - time.monotonic() <= 10
    header, _ = await ask(Questions(), service)
    assert header["code"] == "unavailable"


async def test_a_refusal_keeps_its_code() -> None:
    """What a service says is told to the guest."""
    answers = Answers(ServiceError(Refusal.NOT_GRANTED, "host example.org is not granted"))
    header, _ = await ask(Questions(answerer=answers), "http")
    assert (header["code"], header["message"]) == ("not_granted", "host example.org is not granted")


async def test_a_failing_service_says_what_but_not_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its own message may hold a password: the kind goes to the guest, the rest to the log."""
    answers = Answers(LookupError("postgres://user:password@host"))
    with caplog.at_level(logging.ERROR):
        header, _ = await ask(Questions(answerer=answers), "query")
    assert header["code"] == "failed"
    assert "LookupError" in header["message"]
    assert "password" not in header["message"]
    assert "query failed" in caplog.text


async def test_a_service_that_never_answers_ends_with_the_calls_deadline() -> None:
    """The guest hears of it while it still has its own grace."""
    started = time.monotonic()
    header, _ = await ask(Questions(answerer=Answers(None)), "http", wall_s=0.05)
    assert header["code"] == "timeout"
    assert time.monotonic() - started < 5
    header, _ = await ask(Questions(answerer=Answers(None)), "http", wall_s=-1)
    assert header["code"] == "timeout"


@pytest.mark.parametrize("header", [{}, {"ask": "steal", "key": 0}, {"ask": "http"},
                                    {"ask": "http", "key": "x"}, {"ask": [], "key": 0},
                                    {"ask": "kv_get", "key": None},
                                    {"ask": "kv_get", "key": float("inf")}])  # fmt: skip
async def test_a_worker_that_asks_nonsense_is_killed(header: dict[str, Any]) -> None:
    """It is no worker of ours any more."""
    with pytest.raises(SandboxError) as nonsense:
        await Questions(keys=Keys()).frame(header, b"", GRANTED, time.monotonic() + 1, "owner")
    assert nonsense.value.reason is Reason.KILLED


async def test_what_is_used_and_refused_is_told_with_its_owner() -> None:
    """Keys once for a guest in this process, however often it asks; what services tell, too."""
    heard: list[tuple[str, GrantEvent]] = []
    questions = Questions(Keys(), Answers(), lambda owner, event: heard.append((owner, event)))
    inline = questions.inline(GRANTED, "me")
    for _ in range(3):
        await asyncio.to_thread(inline, Service.KV_GET, b"a", b"")
    await asyncio.sleep(0)
    assert heard == [("me", GrantEvent("kv", "keys of space", allowed=True))]
    await ask(questions, "kv_get", b"a", grants=Grants())
    await ask(questions, "http")
    assert [(owner, event.allowed) for owner, event in heard[1:]] == [
        ("owner", False),
        ("owner", True),
    ]
