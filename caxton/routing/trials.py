"""Trials: finding the message that kills its process, without blaming those beside it.

A message that was pending when its process died, twice, is a suspect. Suspects are delivered to a
process in groups, one group after the other. A death with a group has its cause among those of it
that were at the process: they stand in front again, and come in smaller groups. A death with one
has one cause, and what kills its process twice like that is a dead letter (``POISON_MESSAGE``)
instead of being delivered for ever. Groups that live make the following ones larger, so that
thousands of innocents take few of them. Everyone else goes on meanwhile.

Who was on trial when the shard's own process died is in its journal. The processes of other shards
die while this one lives and counts: their groups need no note, and wait for no commit.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping

from caxton.routing.accepted import Accepted

__all__ = ["FIRST", "KILLS", "MOST", "SUSPECT", "Lane", "Trials"]

SUSPECT = 2
"""Deaths of its process, while it was pending, that make a message a suspect."""
KILLS = 2
"""Deaths on trial, as the only one, that prove it."""
FIRST = 64
"""Suspects in the first group."""
MOST = 512
"""Suspects in a group at most: after three deaths it is down to one."""
NARROWS = 8
"""Groups that come instead of one that a process died with."""

Lane = tuple[bytes, bytes]
"""Conversation and agent."""
_Suspect = tuple[Accepted, Lane]


class _Court:
    """The suspects whose agents live at one shard."""

    __slots__ = ("counts", "full", "near", "on_trial", "scheduled", "shard", "size", "waiting")

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.waiting: deque[_Suspect] = deque()
        """In order, and in the order of their numbers within each lane."""
        self.on_trial: dict[int, _Suspect] = {}
        """The group, by sequence number."""
        self.size = FIRST
        self.near = 0
        """Suspects that have to pass before groups grow: the one that kills is among them."""
        self.counts = False
        """Whether those on trial are some of these."""
        self.full = False
        """Whether the next group may be larger when this one lives."""
        self.scheduled = False

    def narrow(self, count: int) -> None:
        """A process died with a group of ``count``: those come again in smaller ones."""
        self.size, self.near = max(1, count // NARROWS), count
        self.counts = False

    def lowest(self) -> dict[Lane, int]:
        """The lowest number that waits, by lane."""
        found: dict[Lane, int] = {}
        for accepted, lane in self.waiting:
            found.setdefault(lane, accepted.sequence)
        return found


class Trials:
    """The suspects of one shard, by the shard whose process they go to.

    Args:
        home: number of this shard.
        note: has the journal note the only one that goes on trial here (or 0), or how many do (or
            0), then calls back. For none at all the note can wait for the next commit.
        deliver: sends a message to its agent.
    """

    def __init__(
        self,
        home: int,
        note: Callable[[int, int, Callable[[], None]], None],
        deliver: Callable[[Accepted, bytes], None],
    ) -> None:
        self._home = home
        self._note = note
        self._deliver = deliver
        self._courts: dict[int, _Court] = {}
        self._newest: dict[Lane, int] = {}
        """The highest number that came to a lane with suspects."""
        self.lanes: Counter[Lane] = Counter()
        """Suspects by conversation and agent: later messages of those stand behind them."""

    def __len__(self) -> int:
        """Messages that are on trial or wait for theirs."""
        return self.lanes.total()

    def _court(self, shard: int) -> _Court:
        found = self._courts.get(shard)
        if found is None:
            found = self._courts[shard] = _Court(shard)
        return found

    def recovered(self, group: int) -> None:
        """The last run died with a group of so many on trial at its own process; 0 for none."""
        if group:
            self._court(self._home).narrow(group)

    def takes(self, accepted: Accepted, agent_id: bytes, shard: int) -> bool:
        """Whether a message is delivered on trial; then this does it in its turn."""
        court = self._court(shard)
        if accepted.sequence in court.on_trial:
            return False
        lane = (accepted.message.conversation_id, agent_id)
        # While others are tried, nobody who saw one death is beside them: it may cause the next.
        enough = 1 if court.on_trial or court.waiting else SUSPECT
        if accepted.deaths < enough and lane not in self.lanes:
            return False
        self.lanes[lane] += 1
        self._put(court, accepted, lane)
        self._soon(court)
        return True

    def _put(self, court: _Court, accepted: Accepted, lane: Lane) -> None:
        """Have a suspect wait: last, but before the later ones of its lane."""
        waiting, sequence = court.waiting, accepted.sequence
        if sequence >= self._newest.get(lane, 0):
            self._newest[lane] = sequence
            waiting.append((accepted, lane))
            return
        later = (
            place
            for place, (other, its) in enumerate(waiting)
            if its == lane and other.sequence > sequence
        )
        waiting.insert(next(later, len(waiting)), (accepted, lane))

    def _soon(self, court: _Court) -> None:
        """The next group goes after what the loop already has to do: it may bring more of it."""
        if not court.scheduled and not court.on_trial and court.waiting:
            court.scheduled = True
            asyncio.get_running_loop().call_soon(self._next, court)

    def _next(self, court: _Court) -> None:
        court.scheduled = False
        waiting, group = court.waiting, court.on_trial
        if group:
            return
        while waiting and len(group) < court.size:
            accepted, lane = waiting[0]
            if accepted.kills and group:
                break
            waiting.popleft()
            group[accepted.sequence] = (accepted, lane)
            if accepted.kills:
                break
        court.counts = court.near > 0
        court.full = len(group) == court.size and not court.near
        begun = list(group.values())
        if court.shard != self._home:
            self._begin(begun)
        elif len(begun) == 1:
            self._note(begun[0][0].sequence, 0, lambda: self._begin(begun))
        elif begun:
            self._note(0, len(begun), lambda: self._begin(begun))

    def _begin(self, begun: Iterable[_Suspect]) -> None:
        for accepted, lane in begun:
            self._deliver(accepted, lane[1])

    def _forget(self, lane: Lane) -> None:
        self.lanes[lane] -= 1
        if not self.lanes[lane]:
            del self.lanes[lane]
            self._newest.pop(lane, None)

    def ended(self, accepted: Accepted, shard: int) -> None:
        """A message was handled, failed or buried, and its process lives."""
        court = self._courts.get(shard)
        if court is not None and accepted.sequence in court.on_trial:
            accepted.deaths = 0
            court.near = max(0, court.near - court.counts)
            self._off(court, accepted.sequence)

    def left(self, accepted: Accepted, shard: int) -> None:
        """A message waits for something else than its trial, which proved nothing: it is a suspect
        when it comes again."""
        court = self._courts.get(shard)
        if court is not None and accepted.sequence in court.on_trial:
            court.full = False
            self._off(court, accepted.sequence)

    def closed(self, agent_id: bytes, shard: int) -> None:
        """An agent takes nothing now: the others are not held up by those that wait for it."""
        court = self._courts.get(shard)
        for accepted, lane in list(court.on_trial.values()) if court is not None else ():
            if lane[1] == agent_id:
                self.left(accepted, shard)

    def _off(self, court: _Court, sequence: int) -> None:
        _, lane = court.on_trial.pop(sequence)
        self._forget(lane)
        if court.on_trial:
            return
        if court.full:
            court.size = min(MOST, 2 * court.size)
        if court.waiting:
            self._soon(court)
        elif court.shard == self._home:
            self._note(0, 0, lambda: None)

    def died(self, shard: int, flying: Iterable[Accepted]) -> tuple[Accepted | None, set[int]]:
        """The process of another shard died.

        Args:
            shard: which.
            flying: what it had.

        Returns:
            The one that killed it, if it is known, which stays on trial; and the numbers of those
            of a group, which wait again.
        """
        court = self._court(shard)
        tried = sorted(
            ((one, court.on_trial[one.sequence][1]) for one in flying
             if one.sequence in court.on_trial),
            key=lambda suspect: suspect[0].sequence,
        )  # fmt: skip
        if not tried:
            return None, set()
        court.full = False
        if len(tried) == 1:
            guilty = tried[0][0]
            guilty.kills += 1
            return guilty, set()
        court.narrow(len(tried))
        lowest = court.lowest()
        front = []
        for accepted, lane in tried:
            del court.on_trial[accepted.sequence]
            if accepted.sequence < lowest.get(lane, math.inf):
                front.append((accepted, lane))
            else:
                self._put(court, accepted, lane)
        court.waiting.extendleft(reversed(front))
        self._soon(court)
        return None, {accepted.sequence for accepted, _ in tried}

    def aside(
        self, shard: int, first: Mapping[Lane, int], flying: Mapping[int, Accepted]
    ) -> list[Accepted]:
        """Have those on trial make way for earlier ones of their lanes that wait.

        Args:
            shard: whose process died.
            first: the lowest number that waits for something else than its trial, by lane.
            flying: what that process had, by number.

        Returns:
            Those of ``flying`` that wait again too. Who waits for room at its agent stays there,
            and comes to its trial when there is some.
        """
        court = self._court(shard)
        moved = []
        lowest = court.lowest() if court.on_trial else {}
        for sequence, (_, lane) in list(court.on_trial.items()):
            if sequence < min(first.get(lane, math.inf), lowest.get(lane, math.inf)):
                continue
            del court.on_trial[sequence]
            accepted = flying.get(sequence)
            if accepted is None:
                self._forget(lane)
            else:
                moved.append(accepted)
                self._put(court, accepted, lane)
        self._soon(court)
        return moved
