"""Many due times on one timer."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from caxton.routing.due import Due


@settings(max_examples=20, deadline=None)
@given(delays=st.lists(st.integers(0, 10), max_size=30))
def test_items_come_in_the_order_of_their_times(delays: list[int]) -> None:
    """Each comes once, not before its time; equal times in the order they were set."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        came: list[tuple[int, int]] = []
        began = loop.time()
        early: list[int] = []

        def come(item: tuple[int, int]) -> None:
            came.append(item)
            if loop.time() < began + item[0] / 1_000 - 0.002:
                early.append(item[0])

        due: Due[tuple[int, int]] = Due(come)
        for index, delay in enumerate(delays):
            due.add(delay / 1_000, (delay, index))
        async with asyncio.timeout(5):
            while len(due):
                await asyncio.sleep(0.001)
        assert not early
        assert sorted(came) == sorted((delay, index) for index, delay in enumerate(delays))
        for delay in set(delays):
            mine = [index for one, index in came if one == delay]
            assert mine == sorted(mine)

    asyncio.run(run())


async def test_an_earlier_time_rings_first_and_one_failure_stops_nothing() -> None:
    """The timer follows the head of the heap; who raises does not take the others along."""
    came: list[str] = []
    loop = asyncio.get_running_loop()
    problems: list[object] = []
    loop.set_exception_handler(lambda _loop, context: problems.append(context["exception"]))

    def come(item: str) -> None:
        came.append(item)
        if item == "bad":
            raise RuntimeError("bad")

    due = Due(come)
    due.add(0.02, "late")
    due.add(0.001, "bad")
    due.add(0.002, "soon")
    async with asyncio.timeout(5):
        while len(came) < 3:
            await asyncio.sleep(0.001)
    assert came == ["bad", "soon", "late"]
    assert [str(one) for one in problems] == ["bad"]


async def test_nothing_comes_after_close() -> None:
    """Closed is closed."""
    came: list[int] = []
    due = Due(came.append)
    due.add(0.001, 1)
    due.close()
    await asyncio.sleep(0.005)
    assert came == []
