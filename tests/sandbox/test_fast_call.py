"""Both ways of calling the engine give the same, and the fast one only what it has proven."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime

from sandbox import Limits
from sandbox.testing import AGENTS, EngineLaws
from sandbox.wasmtime_engine import WasmtimeEngine, calls, fast_call, platform, proof
from sandbox.wasmtime_engine.calls import PlainCalls
from sandbox.wasmtime_engine.config import config_of
from sandbox.wasmtime_engine.fast_call import FastCalls, FastStore
from sandbox.wasmtime_engine.proof import PROOF, observe, proven


class TestPlainCalls(EngineLaws):
    """The laws of engines hold without the fast way, too."""

    make_engine = WasmtimeEngine

    @pytest.fixture(autouse=True)
    def plain(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Call through the public interface."""
        monkeypatch.setattr(platform, "calls", PlainCalls)
        monkeypatch.setattr("sandbox.wasmtime_engine.commands.calls", PlainCalls)

    def test_it_is_in_use(self, tmp_path: Path) -> None:
        """Otherwise these tests would say nothing."""
        guest = self.open_agent(tmp_path, AGENTS["echo"])
        assert type(guest._store) is wasmtime.Store  # type: ignore[attr-defined]  # of the engine


@pytest.fixture
def fresh() -> Iterator[None]:
    """The choice is made anew, and again after the test."""
    calls.calls.cache_clear()
    yield
    calls.calls.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_the_fast_way_is_used_where_it_is_proven() -> None:
    """With the version this is made for, it is."""
    assert proven()
    assert isinstance(calls.calls(), FastCalls)


@pytest.mark.usefixtures("fresh")
def test_another_version_is_called_plainly(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No guess is made about an interface that was not seen."""
    monkeypatch.setattr(proof.metadata, "version", lambda _name: "51.0.0")
    with caplog.at_level(logging.INFO):
        assert isinstance(calls.calls(), PlainCalls)
    assert "51.0.0" in caplog.text


@pytest.mark.usefixtures("fresh")
def test_a_way_that_differs_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One wrong number is enough."""
    monkeypatch.setattr(fast_call.FastStore, "get_fuel", lambda _self: 1)
    assert isinstance(calls.calls(), PlainCalls)
    assert "otherwise" in caplog.text


def test_both_ways_see_the_same_of_a_guest() -> None:
    """Numbers of both signs, memory, input, traps, fuel: equal, and not empty."""
    engine = wasmtime.Engine(config_of(Limits().stack_bytes))
    module = wasmtime.Module(engine, bytes(wasmtime.wat2wasm(PROOF)))
    plain, fast = (observe(way, engine, module) for way in (PlainCalls(), FastCalls()))
    assert plain == fast
    assert len(fast) > 12


def test_a_closed_store_is_an_error_and_no_crash() -> None:
    """Its context is not touched any more."""
    store = FastStore(wasmtime.Engine(config_of(Limits().stack_bytes)))
    store.set_fuel(5)
    assert store.get_fuel() == 5
    store.close()
    store.close()
    for use in (store.get_fuel, lambda: store.set_fuel(1), lambda: store.set_epoch_deadline(1)):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_the_shapes_in_memory_are_those_of_the_headers() -> None:
    """A number has room for a vector; a function is two words, as ``func.h`` has it."""
    assert ctypes.sizeof(wasmtime._ffi.wasmtime_val_raw_t) == 8 * fast_call.WORDS
    assert ctypes.sizeof(wasmtime._ffi.wasmtime_func_t) == 16
