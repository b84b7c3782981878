"""Keys in memory: whole results or nothing, within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.memory_keys import MemoryKeys
from sandbox.services.request import Refusal, ServiceError


def test_all_of_a_result_is_taken_or_nothing() -> None:
    """Bounds hold for what comes back from a worker; less is taken also by one that is over."""
    store = MemoryKeys(2, 10)
    store.apply("n", {b"b": b"1", b"a": b"2"})
    for written in ({b"c": b"", b"a": b"3"}, {b"a": b"123456789"}):
        with pytest.raises(ServiceError, match="at most 2 and 10") as error:
            store.apply("n", written)
        assert error.value.code is Refusal.TOO_LARGE
    assert store.keys("n", b"") == [b"a", b"b"]
    assert store.get("n", b"a") == b"2"
    store.apply("n", {b"a": None, b"gone": None, b"c": b""})
    assert store.keys("n", b"") == [b"b", b"c"]
    assert store.keys("m", b"") == []
    assert store.get("m", b"a") is None


@given(
    st.lists(
        st.dictionaries(st.binary(max_size=2), st.none() | st.binary(max_size=3), max_size=4),
        max_size=10,
    ),
    st.binary(max_size=1),
)
def test_it_is_a_dictionary(results: list[dict[bytes, bytes | None]], prefix: bytes) -> None:
    """Any results in a row; listing is by prefix and in order."""
    store = MemoryKeys()
    model: dict[bytes, bytes] = {}
    for written in results:
        store.apply("n", written)
        for key, value in written.items():
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
    assert store.keys("n", prefix) == sorted(key for key in model if key.startswith(prefix))
    assert all(store.get("n", key) == value for key, value in model.items())
