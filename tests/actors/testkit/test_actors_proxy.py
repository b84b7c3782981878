"""Laws of the flaky proxy, and of links through it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from actors_support import until

from actors import Identity, Link, LinkClient, LinkServer
from actors.testkit import Faults
from actors.testkit.proxy import FlakyProxy

ROUGH = Faults(drop=0.03, duplicate=0.1, delay=0.1, cut=0.01)


class Owner:
    """Writes down the frames it gets."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.ups = 0

    def on_frame(self, link: Link, kind: int, payload: bytes) -> None:
        self.got.append(int(payload))

    def on_up(self, link: Link, fresh: bool) -> None:
        self.ups += 1

    def on_down(self, link: Link) -> None:
        """Nothing to do."""


class Ends:
    """A client and a server, joined by a proxy."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.left, self.right = Owner(), Owner()
        token = b"secret"
        self.server = LinkServer(folder / "real", Identity("right", token), self.right)
        self.proxy = FlakyProxy(folder / "flaky", folder / "real", seed=seed)
        self.client = LinkClient(folder / "flaky", Identity("left", token), "right", self.left)

    async def start(self) -> None:
        await self.server.start()
        await self.proxy.start()
        self.client.start()

    async def close(self) -> None:
        await self.client.close()
        await self.proxy.close()
        await self.server.close()


@pytest.fixture
async def ends(tmp_path: Path) -> AsyncIterator[Ends]:
    """Two ends that are closed after the test."""
    ends = Ends(tmp_path, seed=5)
    yield ends
    await ends.close()


async def test_without_faults_all_passes_both_ways(ends: Ends) -> None:
    """A calm proxy is as if it were not there."""
    await ends.start()
    back = ends.server.expect("left")
    for number in range(100):
        ends.client.link.send(1, b"%d" % number)
        back.send(1, b"%d" % -number)
    await until(lambda: len(ends.right.got) == len(ends.left.got) == 100)
    assert ends.right.got == [-number for number in ends.left.got] == list(range(100))
    proxy = ends.proxy
    assert (proxy.connections, proxy.dropped, proxy.duplicated, proxy.delayed) == (1, 0, 0, 0)
    assert proxy.frames > 200
    await proxy.close()
    assert not (ends.proxy._path).exists()


@pytest.mark.parametrize("seed", range(3))
async def test_links_lose_and_double_nothing_through_faults(tmp_path: Path, seed: int) -> None:
    """Drops, delays, copies and cuts by a seed: each frame comes once, in order."""
    ends = Ends(tmp_path, seed)
    ends.proxy.faults = ROUGH
    await ends.start()
    back = ends.server.expect("left")
    for number in range(300):
        ends.client.link.send(1, b"%d" % number)
        back.send(1, b"%d" % number)
        if number % 20 == 0:
            await until(lambda number=number: len(ends.right.got) >= number)  # type: ignore[misc]
    await until(lambda: len(ends.right.got) == len(ends.left.got) == 300)
    try:
        assert ends.right.got == ends.left.got == list(range(300)), ends.proxy
        assert ends.proxy.dropped
        assert ends.proxy.duplicated
        assert ends.proxy.delayed
        assert ends.proxy.cuts
        assert f"seed={seed}" in repr(ends.proxy)
    finally:
        await ends.close()


async def test_a_cut_is_mended_and_calm_is_calm(ends: Ends) -> None:
    """``cut`` ends the connection for both; the client comes again; ``calm`` ends the faults."""
    ends.proxy.faults = Faults(drop=1.0)
    await ends.start()
    ends.client.link.send(1, b"1")
    await until(lambda: ends.proxy.cuts > 2)
    assert ends.right.got == []
    ends.proxy.calm()
    await until(lambda: ends.right.got == [1])
    ups = ends.left.ups
    ends.proxy.cut()
    await until(lambda: ends.left.ups == ups + 1)


async def test_only_the_named_kinds_suffer(ends: Ends) -> None:
    """``kinds`` says which frames have faults; the others, and the hello, pass."""
    ends.proxy.faults = Faults(drop=1.0, max_delay=0, kinds=frozenset({2}))
    await ends.start()
    for number in range(10):
        ends.client.link.send(1, b"%d" % number)
    await until(lambda: len(ends.right.got) == 10)
    assert ends.proxy.dropped == 0


async def test_a_server_that_comes_late_is_found(ends: Ends) -> None:
    """While there is no server the client tries again, as it would without the proxy."""
    await ends.proxy.start()
    ends.client.start()
    ends.client.link.send(1, b"1")
    await until(lambda: ends.proxy.connections > 1)
    await ends.server.start()
    await until(lambda: ends.right.got == [1])
