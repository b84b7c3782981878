"""Keys of agents and tools: whole writes or none, read by other processes, within bounds."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caxton.errors import ValidationError
from caxton.storage import agent_state
from caxton.storage.agent_state import StateReader, StateWriter

MAP = 1 << 30


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[StateWriter]:
    made = StateWriter(tmp_path / "state", disk=False, map_bytes=MAP)
    yield made
    await made.close()


async def test_what_is_written_is_read(tmp_path: Path) -> None:
    """By the writer at once and by a later reader; removed keys are gone; namespaces are apart."""
    writer = StateWriter(tmp_path / "state", disk=True, map_bytes=MAP)
    await writer.write("agent/a", {b"x": b"1", b"xy": b"2", b"z": b"", b"gone": b"x"})
    await writer.write("agent/ab", {b"x": b"other"})
    assert writer.get("agent/a", b"gone") == b"x"
    await writer.write("agent/a", {b"gone": None, b"absent": None})
    before = writer.get("agent/a", b"x"), writer.keys("agent/a", b"x")
    await writer.close()
    reader = StateReader(tmp_path / "state", map_bytes=MAP)
    assert (reader.get("agent/a", b"x"), reader.keys("agent/a", b"x")) == before
    assert before == (b"1", [b"x", b"xy"])
    assert reader.get("agent/a", b"z") == b""
    assert reader.get("agent/a", b"gone") is None
    assert reader.keys("agent/a", b"") == [b"x", b"xy", b"z"]
    assert reader.get("agent/ab", b"x") == b"other"
    reader.close()


async def test_a_store_that_is_not_there_is_empty(tmp_path: Path) -> None:
    """A reader may come first; it sees the store once it is made."""
    reader = StateReader(tmp_path / "state", map_bytes=MAP)
    assert reader.get("a", b"k") is None
    assert reader.keys("a", b"") == []
    writer = StateWriter(tmp_path / "state", disk=False, map_bytes=MAP)
    await writer.write("a", {b"k": b"v"})
    await writer.close()
    assert reader.get("a", b"k") == b"v"
    reader.close()
    reader.close()


async def test_bounds_refuse_the_whole_write_and_no_other(
    writer: StateWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many keys or bytes: nothing of that write is kept, another one of the batch is."""
    monkeypatch.setattr(agent_state, "KEYS", 3)
    monkeypatch.setattr(agent_state, "TOTAL_BYTES", 100)
    await writer.write("n", {b"a": b"1", b"b": b"2"})
    results = await asyncio.gather(
        writer.write("n", {b"c": b"3", b"d": b"4"}),
        writer.write("m", {b"c": b"3"}),
        writer.write("n", {b"a": b"x" * 99}),
        writer.write("n", {b"a": None, b"c": b"3", b"d": b"4"}),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [
        ValidationError, type(None), ValidationError, type(None),
    ]  # fmt: skip
    assert "at most 3" in str(results[0])
    assert "at most 100" in str(results[2])
    assert writer.keys("n", b"") == [b"b", b"c", b"d"]
    assert writer.keys("m", b"") == [b"c"]


async def test_a_namespace_has_a_name_of_bounded_length(writer: StateWriter) -> None:
    """The error names the field and the limit."""
    for name in ("", "n" * 201):
        with pytest.raises(ValidationError, match="1 to 200 bytes"):
            await writer.write(name, {b"k": b"v"})
    await writer.write("n" * 200, {b"k" * 255: b"v"})
    assert writer.get("n" * 200, b"k" * 255) == b"v"
    await writer.write("", {})


async def test_a_full_map_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What did not fit is written once there is room; over the largest size it fails, whole."""
    monkeypatch.setattr("caxton.storage.environment.FIRST_BYTES", 1 << 20)
    made = StateWriter(tmp_path / "state", disk=False, map_bytes=8 << 20)
    await made.write("n", {b"%d" % n: b"x" * 60_000 for n in range(60)})
    assert len(made.keys("n", b"")) == 60
    with pytest.raises(agent_state.StorageFull):
        await made.write("m", {b"%d" % n: b"x" * 60_000 for n in range(200)})
    assert made.keys("m", b"") == []
    await made.write("n", {b"0": b"small"})
    assert made.get("n", b"0") == b"small"
    await made.close()


def test_a_killed_writer_has_kept_what_it_said_it_kept(tmp_path: Path) -> None:
    """SIGKILL right after the answer."""
    code = f"""
import asyncio, os, signal
from pathlib import Path
from caxton.storage.agent_state import StateWriter
async def main():
    store = StateWriter(Path({str(tmp_path / "state")!r}), disk=False, map_bytes=1 << 28)
    for n in range(50):
        await store.write("n", {{b"count": b"%d" % n, b"half": b"%d" % n}})
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == -9
    reader = StateReader(tmp_path / "state", map_bytes=1 << 28)
    assert reader.get("n", b"count") == reader.get("n", b"half") == b"49"
    reader.close()


names = st.sampled_from(["a", "b"])
keys = st.binary(min_size=1, max_size=3)
values = st.none() | st.binary(max_size=5)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(names, st.dictionaries(keys, values, max_size=4)), max_size=12))
def test_it_is_a_dictionary_of_dictionaries(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[str, dict[bytes, bytes | None]]]
) -> None:
    """Any writes, also many at once: what a plain dictionary would hold, and its sizes."""
    folder = tmp_path_factory.mktemp("state")

    async def run() -> None:
        store = StateWriter(folder, disk=False, map_bytes=1 << 24)
        await asyncio.gather(*(store.write(name, written) for name, written in writes))
        model: dict[str, dict[bytes, bytes]] = {"a": {}, "b": {}}
        for name, written in writes:
            for key, value in written.items():
                if value is None:
                    model[name].pop(key, None)
                else:
                    model[name][key] = value
        for name, wanted in model.items():
            assert store.keys(name, b"") == sorted(wanted)
            assert all(store.get(name, key) == value for key, value in wanted.items())
            if name in store._sizes:
                total = sum(len(key) + len(value) for key, value in wanted.items())
                assert store._sizes[name] == (len(wanted), total)
        await store.close()

    asyncio.run(run())


async def test_outcomes_are_kept_with_their_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest ones, over a new start; they are no keys and do not count as such."""
    monkeypatch.setattr(agent_state, "OUTCOMES", 3)
    monkeypatch.setattr(agent_state, "OUTCOME_BYTES", 10)
    monkeypatch.setattr(agent_state, "KEYS", 1)
    store = StateWriter(tmp_path / "state", disk=False, map_bytes=MAP)
    for n in range(3):
        await store.write("n", {b"k": b"%d" % n}, (b"id%d" % n, b"out%d" % n))
    with pytest.raises(ValidationError):
        await store.write("n", {b"k2": b"x"}, (b"refused", b"out"))
    assert store.outcome("n", b"refused") is None
    assert store.outcome("other", b"id2") is None
    await store.close()
    store = StateWriter(tmp_path / "state", disk=False, map_bytes=MAP)
    assert [store.outcome("n", b"id%d" % n) for n in range(3)] == [None, b"out1", b"out2"]
    await store.write("n", {b"k": b"x"}, (b"id3", b"o"))
    assert [store.outcome("n", b"id%d" % n) for n in (1, 2, 3)] == [b"out1", b"out2", b"o"]
    await store.write("n", {b"k": b"y"}, (b"large", b"x" * 50))
    assert store.outcome("n", b"large") == b"x" * 50
    assert store.outcome("n", b"id3") is None
    assert store.keys("n", b"") == [b"k"]
    await store.close()
