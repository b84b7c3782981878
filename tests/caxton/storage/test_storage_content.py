"""Large contents by hash: once, bounded, and there after a new start."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from caxton.errors import StorageFull
from caxton.storage.content import ContentReader, ContentStore

MAP = 1 << 28


def opened(folder: Path, keep_bytes: int = 1 << 20, map_bytes: int = MAP) -> ContentStore:
    """The store of a test."""
    return ContentStore(folder, disk=False, map_bytes=map_bytes, keep_bytes=keep_bytes)


def test_a_content_is_kept_once_under_its_hash(tmp_path: Path) -> None:
    """Also empty ones, also over a new start; what is no hash is not there."""
    store = opened(tmp_path / "c")
    for data in (b"", b"x" * 300_000, bytes(range(256))):
        assert store.put(data) == hashlib.sha256(data).hexdigest()
        assert store.put(data) == hashlib.sha256(data).hexdigest()
    assert store.total_bytes == 300_256
    store.close()
    store = opened(tmp_path / "c")
    assert store.total_bytes == 300_256
    assert store.get(hashlib.sha256(b"x" * 300_000).hexdigest()) == b"x" * 300_000
    for name in ("", "x", "0" * 64, "A" * 64, "../registry"):
        assert store.get(name) is None
    store.close()


def test_the_oldest_go_first(tmp_path: Path) -> None:
    """Down to the bound, and the newest stays whatever its size."""
    store = opened(tmp_path / "c", keep_bytes=1_000)
    names = [store.put(bytes([n]) * 400) for n in range(4)]
    assert [store.get(name) is not None for name in names] == [False, False, True, True]
    assert store.total_bytes == 800
    large = store.put(b"l" * 5_000)
    assert store.get(large) == b"l" * 5_000
    assert [store.get(name) for name in names] == [None] * 4
    assert store.total_bytes == 5_000
    store.close()
    store = opened(tmp_path / "c", keep_bytes=1_000)
    after = store.put(b"s")
    assert store.get(large) is None
    assert store.get(after) == b"s"
    store.close()


def test_a_reader_may_come_first(tmp_path: Path) -> None:
    """Before the store is made, nothing is in it."""
    reader = ContentReader(tmp_path / "c", map_bytes=MAP)
    name = hashlib.sha256(b"data").hexdigest()
    assert reader.get(name) is None
    store = opened(tmp_path / "c")
    store.put(b"data")
    store.close()
    assert reader.get(name) == b"data"
    assert reader.get("no hash") is None
    reader.close()
    reader.close()


def test_a_full_map_grows_up_to_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is full, and goes on with what it has."""
    monkeypatch.setattr("caxton.storage.environment.FIRST_BYTES", 1 << 20)
    store = opened(tmp_path / "c", keep_bytes=1 << 30, map_bytes=4 << 20)
    kept = store.put(b"a" * 1_500_000)
    with pytest.raises(StorageFull):
        store.put(b"b" * 4_000_000)
    assert store.get(kept) == b"a" * 1_500_000
    assert store.total_bytes == 1_500_000
    store.close()
