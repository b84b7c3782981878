"""The key-value store of guests: namespaces, limits, and writes that wait for success."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import InvalidSetting
from sandbox.services.kv import KvLimits, KvSession, KvUsage, MemoryKvStore
from sandbox.services.request import Refusal, ServiceError


def refused(error: pytest.ExceptionInfo[ServiceError]) -> Refusal:
    """The code of a refusal."""
    return error.value.code


class TestSession:
    """One call's view."""

    def test_writes_are_seen_by_the_call_and_by_others_after_commit(self) -> None:
        """Until then the store holds what it held."""
        store = MemoryKvStore()
        call, other = KvSession(store, "a"), KvSession(store, "a")
        call.put(b"k", b"v")
        assert call.get(b"k") == b"v"
        assert other.get(b"k") is None
        call.commit()
        assert other.get(b"k") == b"v"
        assert call.changed == 0

    def test_discarded_writes_are_gone(self) -> None:
        """Deletions too."""
        store = MemoryKvStore()
        store.apply("a", {b"kept": b"1"})
        call = KvSession(store, "a")
        assert call.delete(b"kept")
        call.put(b"new", b"2")
        call.discard()
        assert call.get(b"kept") == b"1"
        assert call.get(b"new") is None

    def test_deleting_says_whether_there_was_something(self) -> None:
        """Also what the call itself wrote, and only once."""
        call = KvSession(MemoryKvStore(), "a")
        assert not call.delete(b"k")
        call.put(b"k", b"")
        assert call.get(b"k") == b""
        assert call.delete(b"k")
        assert not call.delete(b"k")
        call.commit()
        assert call.get(b"k") is None

    def test_listing_is_sorted_and_mixes_stored_and_own(self) -> None:
        """Deleted keys are left out, prefixes hold, and the bound cuts the end."""
        store = MemoryKvStore()
        store.apply("n", dict.fromkeys((b"a/1", b"a/3", b"b/1"), b""))
        call = KvSession(store, "n", KvLimits(listed=2))
        call.put("a/é".encode(), b"")
        call.put(b"a/2", b"")
        call.delete(b"a/1")
        assert call.list(b"a/") == ["a/2", "a/3"]
        assert json.loads(KvSession(store, "n").listed(b"")) == ["a/1", "a/3", "b/1"]
        call.commit()
        assert KvSession(store, "n").list(b"a/") == ["a/2", "a/3", "a/é"]

    def test_namespaces_are_apart(self) -> None:
        """The same key is another one."""
        store = MemoryKvStore()
        store.apply("a", {b"k": b"1"})
        assert KvSession(store, "b").get(b"k") is None
        assert KvSession(store, "b").list(b"") == []

    @pytest.mark.parametrize("key", [b"", b"\xff", b"\xed\xa0\x80"])
    def test_keys_are_text(self, key: bytes) -> None:
        """An empty key and bytes that are not UTF-8 are refused."""
        with pytest.raises(ServiceError) as error:
            KvSession(MemoryKvStore(), "a").put(key, b"")
        assert refused(error) is Refusal.BAD_REQUEST

    def test_keys_and_values_are_bounded(self) -> None:
        """The bound itself is allowed."""
        call = KvSession(MemoryKvStore(), "a", KvLimits(key_bytes=4, value_bytes=3))
        call.put(b"four", b"333")
        for key, value in ((b"fives", b""), (b"k", b"4444")):
            with pytest.raises(ServiceError) as error:
                call.put(key, value)
            assert refused(error) is Refusal.TOO_LARGE
        for ask in (call.get, call.delete, call.list):
            with pytest.raises(ServiceError):
                ask(b"fives")

    def test_the_number_of_keys_is_bounded_over_store_and_call(self) -> None:
        """Replacing a value needs no room, deleting one makes some."""
        store = MemoryKvStore()
        store.apply("a", {b"one": b""})
        call = KvSession(store, "a", KvLimits(keys=2))
        call.put(b"two", b"")
        with pytest.raises(ServiceError) as error:
            call.put(b"three", b"")
        assert refused(error) is Refusal.TOO_LARGE
        call.put(b"two", b"again")
        call.delete(b"one")
        call.put(b"three", b"")
        call.commit()
        assert store.usage("a").keys == 2

    def test_the_bytes_are_bounded_over_store_and_call(self) -> None:
        """Keys count; a smaller value is taken also in a full namespace."""
        store = MemoryKvStore()
        store.apply("a", {b"k": b"12345"})
        call = KvSession(store, "a", KvLimits(total_bytes=10))
        with pytest.raises(ServiceError) as error:
            call.put(b"j", b"1234")
        assert refused(error) is Refusal.TOO_LARGE
        call.put(b"j", b"123")
        call.put(b"k", b"1234")
        call.commit()
        assert store.usage("a") == KvUsage(2, 9)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from("abc"), st.one_of(st.none(), st.binary(max_size=3)), st.booleans()
            ),
            max_size=30,
        )
    )
    def test_a_session_is_a_dictionary_with_a_commit(
        self, steps: list[tuple[str, bytes | None, bool]]
    ) -> None:
        """Any order of writes, deletions, commits and discards; the counts always agree."""
        store = MemoryKvStore()
        call = KvSession(store, "n")
        kept: dict[str, bytes] = {}
        seen: dict[str, bytes] = {}
        for key, value, commit in steps:
            if value is None:
                assert call.delete(key.encode()) == (seen.pop(key, None) is not None)
            else:
                call.put(key.encode(), value)
                seen[key] = value
            if commit:
                call.commit()
                kept = dict(seen)
            assert call.list(b"") == sorted(seen)
        assert store.keys("n", b"") == sorted(key.encode() for key in kept)
        size = sum(len(key) + len(value) for key, value in kept.items())
        assert store.usage("n") == KvUsage(len(kept), size)
        call.discard()
        assert {key: call.get(key.encode()) for key in kept} == kept


def test_a_store_takes_all_of_a_result_or_nothing() -> None:
    """Bounds hold for what comes back from a worker; less is taken also by one that is over."""
    store = MemoryKvStore(KvLimits(keys=2, total_bytes=10))
    store.apply("n", {b"b": b"1", b"a": b"2"})
    for written in ({b"c": b"", b"a": b"3"}, {b"a": b"123456789"}):
        with pytest.raises(ServiceError) as error:
            store.apply("n", written)
        assert refused(error) is Refusal.TOO_LARGE
    assert store.keys("n", b"") == [b"a", b"b"]
    assert store.get("n", b"a") == b"2"
    store.apply("n", {b"a": None, b"gone": None, b"c": b""})
    assert store.keys("n", b"") == [b"b", b"c"]
    assert store.usage("n") == KvUsage(2, 3)
    assert store.usage("m") == KvUsage()
    assert store.keys("m", b"") == []


@pytest.mark.parametrize(
    ("name", "value"), [("keys", 0), ("key_bytes", 4097), ("value_bytes", -1), ("listed", True)]
)
def test_limits_have_ranges(name: str, value: int) -> None:
    """The error names the field."""
    with pytest.raises(InvalidSetting, match=name):
        KvLimits(**{name: value})
