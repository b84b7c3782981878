"""What guests ask of their host: keys as their own call sees them, codes, bounds and fuel."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import Limits, Reason, SandboxError
from sandbox.host import (
    ABSENT,
    ASK_FUEL,
    HOST_CALL_FUEL,
    KEY_BYTES,
    REFUSED,
    HostAbort,
    HostCalls,
)
from sandbox.services.request import ERROR_BYTES, Ask, Refusal, Service, ServiceError

SIZE = 65536
KEY, VALUE, ANSWER = 0, 4096, 32768
"""Where tests put keys, values and answers."""


class Guest:
    """A guest's memory and fuel, and its calls of the host."""

    def __init__(self, ask: Ask, limits: Limits | None = None) -> None:
        self.data = bytearray(SIZE)
        self.limits = limits or Limits()
        self.fuel = self.limits.fuel
        self.host = HostCalls(self.limits, self, ask)

    def size(self) -> int:
        """See ``GuestMemory``."""
        return len(self.data)

    def read(self, start: int, length: int) -> bytes:
        """See ``GuestMemory``."""
        return bytes(self.data[start : start + length])

    def write(self, start: int, data: bytes) -> None:
        """See ``GuestMemory``."""
        self.data[start : start + len(data)] = data

    def charge(self, cost: int) -> bool:
        """See ``Meter``."""
        enough = self.fuel >= cost
        self.fuel = max(0, self.fuel - cost)
        return enough

    def put(self, key: bytes, value: bytes) -> int:
        """Set a key."""
        self.write(KEY, key)
        self.write(VALUE, value)
        return self.host.kv_put(self, KEY, len(key), VALUE, len(value))

    def ask(self, function: str, text: bytes) -> int:
        """Call a function of one text."""
        self.write(KEY, text)
        result: int = getattr(self.host, function)(self, KEY, len(text))
        return result

    def take(self, room: int = 4096) -> bytes:
        """The pending answer."""
        return self.read(ANSWER, self.host.take(self, ANSWER, room))

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        length = self.ask("kv_get", key)
        if length == ABSENT:
            return None
        taken = self.take()
        assert len(taken) == length
        return taken

    def names(self, prefix: bytes = b"") -> list[str]:
        """The keys that begin with a text."""
        length = self.ask("kv_list", prefix)
        taken = self.take(SIZE - ANSWER)
        assert len(taken) == length
        return [str(name) for name in json.loads(taken)]

    def refused(self) -> str:
        """The code of the refusal that is pending."""
        told = self.take()
        assert len(told) <= ERROR_BYTES
        return str(json.loads(told)["code"])


def store(held: dict[bytes, bytes]) -> Ask:
    """A host with a key-value store."""

    def ask(service: Service, key: bytes, _body: bytes) -> bytes | None:
        if service is Service.KV_GET:
            return held.get(key)
        names = sorted(name for name in held if name.startswith(key))
        return json.dumps([name.decode() for name in names]).encode()

    return ask


def answering(outcome: Callable[[], bytes | None]) -> Ask:
    """A host that answers everything in one way."""
    return lambda _service, _key, _body: outcome()


def refusing(code: Refusal, message: str = "no") -> Ask:
    """A host that refuses everything."""

    def ask(_service: Service, _key: bytes, _body: bytes) -> bytes | None:
        raise ServiceError(code, message)

    return ask


KEYS = st.sampled_from([b"a", b"ab", b"abc", b"b", "ä".encode()])
WORK = st.lists(st.tuples(st.sampled_from(["put", "delete", "get", "list"]), KEYS,
                          st.binary(max_size=8)), max_size=20)  # fmt: skip


@given(st.dictionaries(KEYS, st.binary(max_size=8)), WORK)
def test_a_call_sees_what_it_wrote_and_the_store_stays(
    held: dict[bytes, bytes], work: list[tuple[str, bytes, bytes]]
) -> None:
    """The overlay is a dictionary over the store, which nothing of the call reaches."""
    before = dict(held)
    guest, model = Guest(store(held)), dict(held)
    for kind, key, value in work:
        if kind == "put":
            assert guest.put(key, value) == 0
            model[key] = value
        elif kind == "delete":
            assert guest.ask("kv_delete", key) == int(key in model)
            model.pop(key, None)
        elif kind == "get":
            assert guest.get(key) == model.get(key)
        else:
            names = sorted(name for name in model if name.startswith(key))
            assert guest.names(key) == [name.decode() for name in names]
    assert held == before
    kept = {**held, **guest.host.written}
    assert {name: value for name, value in kept.items() if value is not None} == model


def test_an_answer_is_taken_once_and_cut_to_the_room() -> None:
    """``take`` copies what there is room for and forgets the rest; no answer is no bytes."""
    guest = Guest(answering(lambda: b"0123456789"))
    assert guest.take() == b""
    assert guest.ask("http", b"q") == 10
    assert guest.take(4) == b"0123"
    assert guest.take() == b""
    assert guest.ask("http", b"q") == guest.ask("query", b"q") == 10
    assert guest.take() == b"0123456789"
    assert guest.ask("http", b"q") == 10
    assert guest.take(0) == b""
    assert guest.take() == b""


def test_writing_leaves_no_answer_to_take() -> None:
    """``kv_put`` and ``kv_delete`` say all they have to say with their result."""
    guest = Guest(store({b"a": b"1"}))
    assert guest.put(b"b", b"2") == 0
    assert guest.take() == b""
    assert guest.ask("kv_delete", b"a") == 1
    assert guest.take() == b""
    assert guest.ask("kv_delete", b"a") == 0


@pytest.mark.parametrize("function", ["http", "query", "memory_search", "kv_get", "kv_list",
                                      "kv_delete"])  # fmt: skip
@pytest.mark.parametrize("code", list(Refusal))
def test_a_refusal_is_minus_two_with_its_code(function: str, code: Refusal) -> None:
    """Whatever was asked, the guest goes on; a long reason fits 4,096 bytes."""
    guest = Guest(refusing(code, "ü\n" * 9_000))
    assert guest.ask(function, b"question") == REFUSED
    assert guest.refused() == str(code)
    assert guest.host.failure is None


def test_a_key_that_is_not_granted_cannot_be_written() -> None:
    """The store is asked before the first write is promised; nothing is kept."""
    guest = Guest(refusing(Refusal.NOT_GRANTED))
    assert guest.put(b"a", b"1") == REFUSED
    assert guest.refused() == "not_granted"
    assert guest.host.written == {}


@pytest.mark.parametrize("key", [b"", b"x" * (KEY_BYTES + 1), b"\xff"])
def test_a_key_has_a_length_and_is_text(key: bytes) -> None:
    """Empty, too long and not UTF-8: a bad request."""
    guest = Guest(store({}))
    assert guest.put(key, b"1") == REFUSED
    assert guest.refused() == "bad_request"
    assert guest.put(b"x" * KEY_BYTES, b"1") == 0


def test_bytes_written_are_bounded_over_the_call() -> None:
    """Keys and values together, also when the same key is set again."""
    guest = Guest(store({}), Limits(kv_bytes=10))
    assert guest.put(b"a", b"1234") == 0
    assert guest.put(b"a", b"1234") == 0
    assert guest.put(b"a", b"") == REFUSED
    assert guest.refused() == "too_large"
    assert guest.host.written == {b"a": b"1234"}


def test_questions_are_bounded_in_number_and_size() -> None:
    """One over ``asks`` is refused, so is one over ``ask_bytes``, before the host hears of it."""
    asked: list[bytes] = []

    def ask(_service: Service, _key: bytes, body: bytes) -> bytes:
        asked.append(body)
        return b""

    guest = Guest(ask, Limits(asks=3, ask_bytes=5))
    assert guest.ask("http", b"123456") == REFUSED
    assert guest.refused() == "too_large"
    assert [guest.ask("http", b"12345") for _ in range(3)] == [0, 0, REFUSED]
    assert guest.refused() == "too_large"
    assert asked == [b"12345"] * 2
    assert guest.host.asked == 4


def test_an_answer_over_its_limit_is_refused() -> None:
    """None of it is given."""
    guest = Guest(answering(lambda: b"x" * 101), Limits(answer_bytes=100))
    assert guest.ask("http", b"q") == REFUSED
    assert guest.refused() == "too_large"
    fits = Guest(answering(lambda: b"x" * 100), Limits(answer_bytes=100))
    assert fits.ask("http", b"q") == 100


def test_a_question_costs_fuel_for_itself_its_bytes_and_its_answer() -> None:
    """And taking the answer costs a host call and its bytes."""
    guest = Guest(answering(lambda: b"x" * 1_000))
    before = guest.fuel
    guest.ask("http", b"y" * 100)
    assert before - guest.fuel == ASK_FUEL + 100 + 1_000
    before = guest.fuel
    guest.take(400)
    assert before - guest.fuel == HOST_CALL_FUEL + 400


def test_without_fuel_for_it_nothing_is_asked() -> None:
    """The call ends as out of fuel, and the host was not bothered."""
    asked: list[Service] = []

    def ask(service: Service, _key: bytes, _body: bytes) -> bytes:
        asked.append(service)
        return b""

    guest = Guest(ask, Limits(fuel=ASK_FUEL))
    with pytest.raises(HostAbort):
        guest.ask("http", b"q")
    assert guest.host.failure is not None
    assert guest.host.failure.reason is Reason.OUT_OF_FUEL
    assert asked == []


def test_an_answer_that_costs_more_than_is_left_ends_the_call() -> None:
    """Fuel bounds what a guest can make its host move."""
    guest = Guest(answering(lambda: bytes(1_000)), Limits(fuel=ASK_FUEL + 500))
    with pytest.raises(HostAbort):
        guest.ask("http", b"q")
    failure = guest.host.failure
    assert isinstance(failure, SandboxError)
    assert failure.reason is Reason.OUT_OF_FUEL


@given(st.integers(-(2**31), 2**32 - 1), st.integers(-(2**31), 2**32 - 1))
def test_any_two_numbers_are_a_range_or_a_bad_pointer(pointer: int, length: int) -> None:
    """For a question and for taking its answer: signed or unsigned, nothing else happens."""
    guest = Guest(answering(lambda: b"answer"), Limits(fuel=10**12, ask_bytes=SIZE))
    inside = (pointer & 0xFFFFFFFF) + (length & 0xFFFFFFFF) <= SIZE
    if inside:
        assert guest.host.http(guest, pointer, length) == 6
    else:
        with pytest.raises(HostAbort):
            guest.host.http(guest, pointer, length)
        assert guest.host.failure is not None
        assert guest.host.failure.reason is Reason.BAD_POINTER
        assert len(guest.data) == SIZE
