"""pykka's contract of futures, one sentence a test, over pykka's and over ours."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

import pykka
import pytest

from actors.future import Future

TIMEOUT = 5.0


@pytest.fixture(params=[pykka.ThreadingFuture, Future], ids=["pykka", "actors"])
def made(request: pytest.FixtureRequest) -> type[Any]:
    """The class of the future."""
    found: type[Any] = request.param
    return found


def test_get_gives_what_was_set(made: type[Any]) -> None:
    """As often as it is asked, None included."""
    future = made()
    future.set({"a": 1})
    assert future.get() is future.get()
    empty = made()
    empty.set()
    assert empty.get(timeout=0) is None


def test_get_without_a_value_times_out(made: type[Any]) -> None:
    """pykka.Timeout; a value that comes later is there for the next get."""
    future = made()
    with pytest.raises(pykka.Timeout):
        future.get(timeout=0.001)
    future.set(1)
    assert future.get(timeout=0) == 1


def test_get_waits_for_another_thread(made: type[Any]) -> None:
    """A value that is set meanwhile."""
    future = made()
    thread = threading.Timer(0.01, future.set, (5,))
    thread.start()
    assert future.get(timeout=TIMEOUT) == 5
    thread.join()


def test_an_exception_is_raised_with_its_traceback(made: type[Any]) -> None:
    """From the handled exception, or from the triple given."""
    future = made()
    try:
        raise ValueError("first")
    except ValueError:
        future.set_exception()
    for _ in range(2):
        with pytest.raises(ValueError, match="first") as caught:
            future.get()
        assert caught.traceback[-1].name == "test_an_exception_is_raised_with_its_traceback"
    other = made()
    other.set_exception((KeyError, KeyError("second"), None))
    with pytest.raises(KeyError, match="second"):
        other.get()
    third = made()
    third.set_exception((RuntimeError, None, None))
    with pytest.raises(RuntimeError):
        third.get()


def test_a_second_value_is_refused(made: type[Any]) -> None:
    """set, set_exception and a hook after a value raise, and change nothing."""
    future = made()
    future.set(1)
    with pytest.raises(queue.Full):
        future.set(2)
    with pytest.raises(queue.Full):
        future.set_exception((ValueError, ValueError(), None))
    with pytest.raises(queue.Full):
        future.set_get_hook(lambda timeout: 3)
    assert future.get() == 1


def test_a_get_hook_gives_the_value_once(made: type[Any]) -> None:
    """It gets the timeout, and its value is kept; a value cannot be set beside it."""
    given: list[Any] = []

    def hook(timeout: float | None) -> str:
        given.append(timeout)
        return "hooked"

    future = made()
    future.set_get_hook(hook)
    assert future.get(timeout=2.5) == "hooked"
    assert future.get(timeout=1.0) == "hooked"
    assert given == [2.5]
    with pytest.raises(queue.Full):
        future.set(1)


def test_map_changes_the_value(made: type[Any]) -> None:
    """Lazily, and what it raises is raised by get."""
    future = made()
    mapped = future.map(lambda value: value + 1)
    broken = future.map(lambda value: value / 0)
    future.set(1)
    assert mapped.get(timeout=TIMEOUT) == 2
    with pytest.raises(ZeroDivisionError):
        broken.get(timeout=TIMEOUT)


def test_filter_keeps_what_fits(made: type[Any]) -> None:
    """Of a value that can be iterated over."""
    future = made()
    future.set([1, 2, 3, 4])
    assert future.filter(lambda value: value % 2).get(timeout=TIMEOUT) == [1, 3]


def test_join_gives_all_values(made: type[Any]) -> None:
    """In the order of the futures; nested joins nest."""
    one, two, three = made(), made(), made()
    joined = one.join(two, three)
    for value, future in ((1, one), (2, two), (3, three)):
        future.set(value)
    assert joined.get(timeout=TIMEOUT) == [1, 2, 3]
    assert joined.map(sum).get(timeout=TIMEOUT) == 6


def test_reduce_folds(made: type[Any]) -> None:
    """With and without a beginning; an empty one needs it."""
    future = made()
    future.set([1, 2, 3])
    assert future.reduce(lambda left, right: left + right).get(timeout=TIMEOUT) == 6
    assert future.reduce(lambda left, right: left + right, 10).get(timeout=TIMEOUT) == 16
    empty = made()
    empty.set([])
    with pytest.raises(TypeError):
        empty.reduce(lambda left, right: left + right).get(timeout=TIMEOUT)
    assert empty.reduce(lambda left, right: left + right, 7).get(timeout=TIMEOUT) == 7


def test_get_all_waits_for_all(made: type[Any]) -> None:
    """pykka.get_all takes any futures; one timeout for all."""
    futures = [made() for _ in range(3)]
    for number, future in enumerate(futures):
        future.set(number)
    assert pykka.get_all(futures, timeout=TIMEOUT) == [0, 1, 2]
    futures.append(made())
    with pytest.raises(pykka.Timeout):
        pykka.get_all(futures, timeout=0.001)


def test_a_future_can_be_awaited(made: type[Any]) -> None:
    """It gives its value, or raises."""

    async def run() -> None:
        future = made()
        future.set(3)
        assert await future == 3
        broken = made()
        broken.set_exception((ValueError, ValueError("no"), None))
        with pytest.raises(ValueError, match="no"):
            await broken

    asyncio.run(run())


def test_it_is_a_pykka_future(made: type[Any]) -> None:
    """For who looks."""
    assert isinstance(made(), pykka.Future)
    assert isinstance(made(), pykka.ThreadingFuture)
    assert repr(made()) == "<pykka.Future>"
