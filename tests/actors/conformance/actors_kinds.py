"""The suite runs over pykka's own actors and over each kind of ours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pykka
import pytest

from actors import Actor, ActorSystem, BlockingActor, CooperativeDispatcher
from actors.testkit import SyncDispatcher

TIMEOUT = 5.0


class Pinned(BlockingActor):
    """A blocking actor with a thread of its own."""

    pinned = True


class PumpedDispatcher(SyncDispatcher):
    """The synchronous dispatcher, run by a thread as soon as there is something to run."""

    def __init__(self) -> None:
        super().__init__()
        self._wanted = threading.Event()
        self._ended = False
        begun = threading.Event()
        self._pump = threading.Thread(target=self._run_turns, args=(begun,), daemon=True)
        self._pump.start()
        assert begun.wait(TIMEOUT)

    def _run_turns(self, begun: threading.Event) -> None:
        self._thread = threading.get_ident()
        begun.set()
        while not self._ended:
            self._wanted.wait()
            self._wanted.clear()
            self.run()

    def schedule(self, cell: Any) -> None:
        super().schedule(cell)
        self._wanted.set()

    def close(self) -> None:
        self._ended = True
        self._wanted.set()
        self._pump.join(TIMEOUT)


@dataclass
class Kind:
    """One implementation of the contract."""

    name: str
    base: type[pykka.Actor]
    start: Callable[..., Any]

    @property
    def ours(self) -> bool:
        """Whether it is not pykka's."""
        return self.base is not pykka.ThreadingActor

    def make(self, mixin: type) -> type[Any]:
        """An actor class with the methods of ``mixin``."""
        return type(mixin.__name__, (mixin, self.base), {})


def _plain(cls: type[Any], *args: Any, **kwargs: Any) -> Any:
    return cls.start(*args, **kwargs)


@pytest.fixture(params=["pykka", "cooperative", "loop", "pool", "pinned", "sync"])
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """Each implementation in turn; no actor is left after the test."""
    name = request.param
    close: Callable[[], object] = lambda: None  # noqa: E731 - nothing to close
    if name == "pykka":
        found = Kind(name, pykka.ThreadingActor, _plain)
    elif name == "cooperative":
        found = Kind(name, Actor, _plain)
    elif name == "pool":
        found = Kind(name, BlockingActor, _plain)
    elif name == "pinned":
        found = Kind(name, Pinned, _plain)
    else:
        dispatcher: Any = (
            PumpedDispatcher() if name == "sync" else CooperativeDispatcher.on_thread("suite")
        )
        system = ActorSystem("suite", dispatcher=dispatcher)
        close = dispatcher.close

        def start(cls: type[Any], *args: Any, **kwargs: Any) -> Any:
            return system.start(cls, args, kwargs)

        found = Kind(name, Actor, start)
    yield found
    pykka.ActorRegistry.stop_all(timeout=TIMEOUT)
    assert pykka.ActorRegistry.get_all() == []
    close()
