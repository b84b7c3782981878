"""Shards that are killed and stopped while their links fail: nothing confirmed is ever lost.

One round is a few seconds. ``ACTORS_SOAK_ROUNDS`` runs more of them, each with a seed of its own,
from ``ACTORS_SOAK_SEED`` on; a round that fails says its seed.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from actors_kill_field import SHARDS, Field
from actors_kill_sender import Sender, check_record
from actors_kill_shard import run_shard
from actors_kill_tally import Teller, check_tally, run_tally
from actors_support import until

from actors import ActorSystem
from actors.remote.node import RemoteNode

# Each teller must have got somewhere in the time of a round.
pytestmark = [pytest.mark.process, pytest.mark.alone]

ROUNDS = int(os.environ.get("ACTORS_SOAK_ROUNDS", "1"))
SEED = int(os.environ.get("ACTORS_SOAK_SEED", "1"))
SEEDS = range(SEED, SEED + ROUNDS)
STRIKING_S = 3.5
NAMES = ("ann", "bob")


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_confirmed_is_lost(tmp_path: Path, seed: int) -> None:
    """Links alone: SIGKILL and SIGSTOP at seeded moments, drops, delays, copies and cuts."""
    field = Field(tmp_path, seed, run_shard)
    senders: list[Sender] = []
    await field.start()
    try:
        for shard in SHARDS:
            for name in NAMES:
                path = await field.way(name, shard)
                senders.append(Sender(path, name, shard, field.token, field.rng()))
                senders[-1].client.start()
        await field.strike(STRIKING_S)
        for sender in senders:
            sender.goes_on = False
        await field.calm(lambda: all(sender.done for sender in senders))
    finally:
        for sender in senders:
            await sender.client.close()
        await field.close()
    totals: Counter[str] = Counter()
    for sender in senders:
        totals.update(check_record(field.record(sender.child), sender))
        assert sender.confirmed > 1_000, sender.name
    assert totals["lives"] > len(senders)
    field.check_ends()
    _show(seed, totals, field)


@pytest.mark.parametrize("seed", SEEDS)
async def test_remote_tells_asks_and_watches_hold(tmp_path: Path, seed: int) -> None:
    """Remote refs: what is told is handled, each ask ends, a watch fires once for each death."""
    field = Field(tmp_path, seed, run_tally)
    system = ActorSystem("tellers")
    nodes = [RemoteNode(system, name, field.token) for name in NAMES]
    tellers: list[Teller] = []
    await field.start()
    try:
        for shard in SHARDS:
            for node in nodes:
                path = await field.way(node.identity.name, shard)
                tellers.append(Teller(node, path, shard, field.rng()))
        field.on_strike.extend(teller.struck for teller in tellers)
        await field.strike(STRIKING_S)
        for teller in tellers:
            teller.goes_on = False
        await field.calm(lambda: all(teller.confirmed == teller.told for teller in tellers))
        # Every watch is about a life that goes on; each of these lives ends now.
        pids = {child.name: child.pid for child in field.supervisor.children()}
        await until(lambda: all(teller.attached == pids[teller.child] for teller in tellers))
        last = [teller.watchings[-1] for teller in tellers]
        for child in field.supervisor.children():
            field.hit(child, signal.SIGKILL)
        await until(lambda: all(watching.fired for watching in last))
        pids = {child.name: child.pid for child in field.supervisor.children()}
        await until(lambda: all(teller.attached == pids[teller.child] for teller in tellers))
        ended = set(field.exits())
    finally:
        for teller in tellers:
            await teller.close()
        for node in nodes:
            await node.close()
        await system.stop(5)
        await field.close()
    totals: Counter[str] = Counter()
    for teller in tellers:
        totals.update(check_tally(field.record(teller.child), teller, ended))
    assert totals["watches"] >= len(tellers)
    assert totals["told"] > 4_000
    assert system.dead_letters.count == 0
    field.check_ends()
    _show(seed, totals, field)


def _show(seed: int, totals: Counter[str], field: Field) -> None:
    print(f"seed {seed}: {dict(totals)}, {field.supervisor.counters()}, {field.proxies}")
