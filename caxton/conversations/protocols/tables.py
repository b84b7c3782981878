"""The protocols that conversations are checked against, one table each."""

from __future__ import annotations

from functools import lru_cache

from caxton.conversations.protocols.protocol import START, Protocol, Role, Step, by_name
from caxton.performative import Performative

__all__ = ["PROTOCOLS", "protocol_of"]

_A = Performative
_I, _P = Role.INITIATOR, Role.PARTICIPANT


def _contract_net(*, iterated: bool) -> tuple[Step, ...]:
    again = (Step(("proposed",), _I, (_A.CFP,), "called"),) if iterated else ()
    return (
        Step((START,), _I, (_A.CFP,), "called"),
        Step(("called",), _P, (_A.PROPOSE,), "proposed"),
        Step(("called",), _P, (_A.REFUSE,), "refused"),
        *again,
        Step(("proposed",), _I, (_A.ACCEPT_PROPOSAL,), "accepted"),
        Step(("proposed",), _I, (_A.REJECT_PROPOSAL,), "rejected"),
        Step(("accepted",), _P, (_A.INFORM,), "done"),
    )


_AUCTION_FINAL = frozenset({"done", "ended"})

PROTOCOLS: tuple[Protocol, ...] = (
    Protocol(
        "fipa-request", ("request",), "FIPA SC00026H",
        "One agent asks another to do something and learns how it went.",
        "initiator", "participant",
        (
            Step((START,), _I, (_A.REQUEST,), "requested"),
            Step(("requested",), _P, (_A.REFUSE,), "refused"),
            Step(("requested",), _P, (_A.AGREE,), "agreed"),
            Step(("requested", "agreed"), _P, (_A.INFORM,), "done"),
        ),
        frozenset({"refused", "done"}),
    ),
    Protocol(
        "fipa-query", ("query",), "FIPA SC00027H",
        "One agent asks another whether something is so, or for what something is.",
        "initiator", "participant",
        (
            Step((START,), _I, (_A.QUERY_IF, _A.QUERY_REF), "asked"),
            Step(("asked",), _P, (_A.REFUSE,), "refused"),
            Step(("asked",), _P, (_A.AGREE,), "agreed"),
            Step(("asked", "agreed"), _P, (_A.INFORM,), "done"),
        ),
        frozenset({"refused", "done"}),
    ),
    Protocol(
        "fipa-contract-net", ("contract-net",), "FIPA SC00029H",
        "A manager calls for proposals, accepts some of them and has the work done.",
        "manager", "contractor", _contract_net(iterated=False),
        frozenset({"refused", "rejected", "done"}), many=True,
    ),
    Protocol(
        "fipa-iterated-contract-net", ("iterated-contract-net",), "FIPA SC00030H",
        "A contract net whose manager may call again before it decides.",
        "manager", "contractor", _contract_net(iterated=True),
        frozenset({"refused", "rejected", "done"}), many=True,
    ),
    Protocol(
        "fipa-auction-english", ("english-auction", "auction-english", "auction"), "FIPA XC00031F",
        "An auctioneer calls rising prices; the last bid that is accepted wins.",
        "auctioneer", "bidder",
        (
            Step((START,), _I, (_A.INFORM,), "invited"),
            Step((START, "invited", "called", "leading", "outbid"), _I, (_A.CFP,), "called"),
            Step(("called",), _P, (_A.PROPOSE,), "bid"),
            Step(("called",), _P, (_A.REFUSE,), "left"),
            Step(("bid",), _I, (_A.ACCEPT_PROPOSAL,), "leading"),
            Step(("bid",), _I, (_A.REJECT_PROPOSAL,), "outbid"),
            Step(("leading",), _I, (_A.REQUEST,), "won"),
            Step(("won",), _P, (_A.INFORM,), "done"),
            Step(("invited", "called", "leading", "outbid"), _I, (_A.INFORM,), "ended"),
        ),
        _AUCTION_FINAL | {"left"}, many=True,
    ),
    Protocol(
        "fipa-auction-dutch", ("dutch-auction", "auction-dutch"), "FIPA XC00032F",
        "An auctioneer calls falling prices; the first bid wins.",
        "auctioneer", "bidder",
        (
            Step((START,), _I, (_A.INFORM,), "invited"),
            Step((START, "invited", "called", "outbid"), _I, (_A.CFP,), "called"),
            Step(("called",), _P, (_A.PROPOSE,), "bid"),
            Step(("called",), _P, (_A.REFUSE,), "left"),
            Step(("bid",), _I, (_A.ACCEPT_PROPOSAL,), "won"),
            Step(("bid",), _I, (_A.REJECT_PROPOSAL,), "outbid"),
            Step(("won",), _P, (_A.INFORM,), "done"),
            Step(("invited", "called", "outbid"), _I, (_A.INFORM,), "ended"),
        ),
        _AUCTION_FINAL | {"left"}, many=True,
    ),
    Protocol(
        "negotiation", ("fipa-propose", "propose"), "FIPA SC00036H, with counter-proposals",
        "Two agents propose to each other in turn until one accepts or rejects.",
        "initiator", "participant",
        (
            Step((START, "countered"), _I, (_A.PROPOSE,), "proposed"),
            Step((START,), _I, (_A.CFP,), "called"),
            Step(("called", "proposed"), _P, (_A.PROPOSE,), "countered"),
            Step(("called",), _P, (_A.REFUSE,), "refused"),
            Step(("proposed",), _P, (_A.ACCEPT_PROPOSAL,), "agreed"),
            Step(("proposed",), _P, (_A.REJECT_PROPOSAL,), "rejected"),
            Step(("countered",), _I, (_A.ACCEPT_PROPOSAL,), "agreed"),
            Step(("countered",), _I, (_A.REJECT_PROPOSAL,), "rejected"),
        ),
        frozenset({"agreed", "rejected", "refused"}),
    ),
    Protocol(
        "fipa-subscribe", ("subscribe",), "FIPA SC00035H",
        "One agent wants to be told each time something changes, until it cancels.",
        "subscriber", "publisher",
        (
            Step((START,), _I, (_A.SUBSCRIBE,), "subscribing"),
            Step(("subscribing",), _P, (_A.REFUSE,), "refused"),
            Step(("subscribing",), _P, (_A.AGREE,), "subscribed"),
            Step(("subscribing", "subscribed"), _P, (_A.INFORM,), "subscribed"),
        ),
        frozenset({"refused"}), lasting=frozenset({"subscribed"}),
    ),
)  # fmt: skip
"""Every protocol that is checked. Other names in ``protocol`` are carried and not checked."""

_NAMED = by_name(PROTOCOLS)


@lru_cache(1_024)
def protocol_of(name: str) -> Protocol | None:
    """The protocol of a name in any case, with ``-`` or ``_``; None when it is not checked."""
    return _NAMED.get(name.lower().replace("_", "-"))
