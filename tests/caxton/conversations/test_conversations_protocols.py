"""The protocols: each by its table, and what is none of its business."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caxton.conversations.protocols.progress import Peer, Progress, advance
from caxton.conversations.protocols.protocol import (
    CANCELLED,
    CANCELLING,
    FAILED,
    NOT_UNDERSTOOD,
    START,
    Protocol,
    Role,
    Step,
    by_name,
    spoken,
)
from caxton.conversations.protocols.tables import PROTOCOLS, protocol_of
from caxton.conversations.record import ConversationRecord
from caxton.errors import InternalError, ProtocolViolation
from caxton.message import Message, Performative, make_message
from caxton.types import new_id

NODE, ASKER, WORKER, OTHER, THIRD = (new_id() for _ in range(5))
CONVERSATION = new_id()


class Talk:
    """A conversation that is followed act by act."""

    def __init__(self, protocol: str | None = "fipa-request") -> None:
        self.protocol = protocol
        self.progress: Progress | None = None
        self.said: list[Message] = []

    def say(
        self, act: str, sender: bytes = ASKER, receiver: bytes | None = WORKER, **fields: Any
    ) -> Message:
        """Say something; raises when it is refused."""
        fields.setdefault("protocol", self.protocol)
        if receiver is None:
            fields.setdefault("capability", "work")
        message = make_message(
            act, sender=sender, receiver=receiver, conversation_id=CONVERSATION, **fields
        )
        self.progress = advance(self.progress, message, NODE)
        self.said.append(message)
        return message

    def refuses(self, act: str, *parties: bytes, **fields: Any) -> str:
        """Say something that is refused; returns the rule. Nothing may change."""
        before = msgspec.msgpack.encode(self.progress)
        with pytest.raises(ProtocolViolation) as caught:
            self.say(act, *parties, **fields)
        assert msgspec.msgpack.encode(self.progress) == before
        return str(caught.value.fields["rule"])

    def answer(self, act: str, sender: bytes = WORKER, **fields: Any) -> Message:
        """Say something to the initiator."""
        return self.say(act, sender, ASKER, **fields)

    def state(self, participant: bytes = WORKER) -> str:
        assert self.progress is not None
        return self.progress.peers[participant].state

    @property
    def over(self) -> bool:
        assert self.progress is not None
        return self.progress.over


@pytest.mark.parametrize(
    ("protocol", "acts", "ends"),
    [
        ("fipa-request", "request <inform", "done"),
        ("fipa-request", "request <agree <inform", "done"),
        ("fipa-request", "request <agree <failure", FAILED),
        ("fipa-request", "request <refuse", "refused"),
        ("fipa-query", "query-if <inform", "done"),
        ("fipa-query", "query-ref <agree <inform", "done"),
        ("fipa-contract-net", "cfp <propose accept-proposal <inform", "done"),
        ("fipa-contract-net", "cfp <propose accept-proposal <failure", FAILED),
        ("fipa-contract-net", "cfp <propose reject-proposal", "rejected"),
        ("fipa-contract-net", "cfp <refuse", "refused"),
        ("fipa-iterated-contract-net", "cfp <propose cfp <propose reject-proposal", "rejected"),
        (
            "fipa-auction-english",
            "inform cfp <propose accept-proposal cfp <propose accept-proposal request <inform",
            "done",
        ),
        ("fipa-auction-english", "cfp <propose reject-proposal cfp inform", "ended"),
        ("fipa-auction-dutch", "inform cfp cfp <propose accept-proposal <inform", "done"),
        ("fipa-auction-dutch", "cfp <propose reject-proposal inform", "ended"),
        ("negotiation", "propose <propose propose <accept-proposal", "agreed"),
        ("negotiation", "cfp <propose reject-proposal", "rejected"),
        ("fipa-subscribe", "subscribe <agree <inform <inform <failure", FAILED),
        ("fipa-subscribe", "subscribe <refuse", "refused"),
        ("fipa-subscribe", "subscribe <inform cancel <inform", CANCELLED),
    ],
)
def test_a_run_of_each_protocol(protocol: str, acts: str, ends: str) -> None:
    """From the opening to the end; ``<`` marks the participant's acts, which answer the last."""
    talk = Talk(protocol)
    for act in acts.split():
        if act[0] == "<":
            asked = next(one for one in reversed(talk.said) if one.sender == ASKER)
            talk.answer(act[1:], in_reply_to=asked.message_id)
        else:
            assert not talk.progress or not talk.over
            talk.say(act)
    assert talk.state() == ends
    assert talk.over


@given(st.data())
def test_any_walk_ends_or_goes_on(data: st.DataObject) -> None:
    """Whatever acts come: exactly the table's are taken, and a refusal changes nothing."""
    table = data.draw(st.sampled_from(PROTOCOLS))
    talk = Talk(table.name)
    talk.say(data.draw(st.sampled_from(table.acts(START, Role.INITIATOR))).value)
    for _ in range(12):
        state = talk.state()
        if state in table.over:
            break
        by = data.draw(st.sampled_from(Role))
        act = data.draw(st.sampled_from(Performative))
        parties = (ASKER, WORKER) if by is Role.INITIATOR else (WORKER, ASKER)
        target = table.moves.get((state, by, act))
        runtime = act in (Performative.HEARTBEAT, Performative.CAPABILITY)
        generic = act is Performative.NOT_UNDERSTOOD or (
            act is Performative.FAILURE and by is Role.PARTICIPANT
        )
        if act is Performative.CANCEL and by is Role.INITIATOR:
            continue
        if runtime or target is not None or generic:
            talk.say(act.value, *parties)
            wanted = state if runtime else target
            if wanted is None:
                wanted = NOT_UNDERSTOOD if act is Performative.NOT_UNDERSTOOD else FAILED
            assert talk.state() == wanted
        else:
            talk.refuses(act.value, *parties)
    raw = msgspec.msgpack.encode(talk.progress)
    assert msgspec.msgpack.encode(msgspec.msgpack.decode(raw, type=Progress)) == raw


def test_a_wrong_act_says_what_is_allowed() -> None:
    """The rule names the protocol, the state and the acts."""
    talk = Talk()
    talk.say("request")
    assert talk.refuses("propose", WORKER, ASKER) == (
        "fipa-request is requested: the participant says refuse, agree or inform"
    )
    assert talk.refuses("request") == "fipa-request is requested: the initiator waits"
    assert "begins with request" in Talk().refuses("inform")
    assert "not query" in talk.refuses("query-if", protocol="query")


def test_names_are_read_as_people_write_them() -> None:
    """Aliases, any case, underscores; unknown names are not checked."""
    assert protocol_of("Contract_Net") is protocol_of("fipa-contract-net")
    assert protocol_of("REQUEST") is protocol_of("fipa-request")
    talk = Talk("our own words")
    talk.say("accept-proposal")
    assert talk.progress is None


def test_a_reply_names_the_act_that_it_answers() -> None:
    """``reply_with`` when there is one, else the id; another message's id is refused."""
    talk = Talk()
    key = new_id()
    asked = talk.say("request", reply_with=key)
    assert "names another message" in talk.refuses(
        "agree", WORKER, ASKER, in_reply_to=asked.message_id
    )
    talk.answer("agree", in_reply_to=key)
    talk.answer("inform", in_reply_to=key)
    assert talk.over
    bids = Talk("contract-net")
    bids.say("cfp")
    bid = bids.answer("propose")
    assert "names another message" in bids.refuses("accept-proposal", in_reply_to=new_id())
    bids.say("accept-proposal", in_reply_to=bid.message_id)


def test_after_the_end_a_protocol_may_begin_anew() -> None:
    """A late word is refused; NOT_UNDERSTOOD and CANCEL may have crossed the end."""
    talk = Talk()
    talk.say("request")
    talk.answer("inform")
    assert "has ended in it" in talk.refuses("inform", WORKER, ASKER)
    talk.say("cancel")
    talk.answer("not-understood")
    talk.answer("inform", protocol=None)
    talk.say("request")
    assert talk.state() == "requested"


def test_each_participant_of_a_contract_net_runs_by_itself() -> None:
    """Ten may be called; it is over when each run is; a late word to one that ended is refused."""
    talk = Talk("contract-net")
    for one in (WORKER, OTHER, THIRD):
        talk.say("cfp", ASKER, one, reply_by=5_000)
    talk.answer("propose", WORKER)
    talk.answer("refuse", OTHER)
    talk.answer("propose", THIRD)
    assert "has ended here as refused" in talk.refuses("propose", OTHER, ASKER)
    assert "calls a contractor with cfp" in talk.refuses("accept-proposal", ASKER, new_id())
    talk.say("accept-proposal", ASKER, THIRD)
    talk.say("reject-proposal", ASKER, WORKER)
    assert not talk.over
    talk.answer("inform", THIRD)
    assert talk.over
    assert [talk.state(one) for one in (WORKER, OTHER, THIRD)] == ["rejected", "refused", "done"]


def test_a_request_has_one_participant() -> None:
    """Another one needs a conversation of its own; a word without the protocol is not checked."""
    talk = Talk()
    talk.say("request")
    assert "another participant" in talk.refuses("request", ASKER, OTHER)
    assert "name this one as its parent" in talk.refuses("request", WORKER, OTHER)
    talk.say("inform", ASKER, OTHER, protocol=None)
    talk.say("request", WORKER, OTHER, protocol=None)
    talk.say("inform", OTHER, WORKER, protocol=None)
    talk.say("not-understood", OTHER, WORKER)
    talk.say("heartbeat", WORKER, ASKER)
    assert talk.state() == "requested"
    assert "the participant says" in talk.refuses("cfp", WORKER, ASKER, protocol=None)


def test_a_capability_finds_its_participant() -> None:
    """Who answers a request to a capability is its participant from then on."""
    talk = Talk()
    asked = talk.say("request", receiver=None)
    talk.answer("agree", OTHER, protocol=None, in_reply_to=asked.message_id)
    assert talk.state(OTHER) == "agreed"
    talk.say("cancel", receiver=None)
    assert talk.state(OTHER) == CANCELLING
    strange = Talk()
    strange.say("request", receiver=None)
    strange.answer("inform", OTHER, protocol=None)
    assert list(strange.progress.peers) == [b""]  # type: ignore[union-attr]  # it began


def test_a_cancel_is_answered_or_crossed() -> None:
    """INFORM cancels, FAILURE leaves all as it was; the answer to the request may cross it."""
    talk = Talk()
    asked = talk.say("request")
    first = talk.say("cancel")
    assert talk.state() == CANCELLING
    assert "waits" in talk.refuses("cancel")
    talk.answer("agree", in_reply_to=asked.message_id)
    assert talk.state() == CANCELLING
    talk.answer("failure", in_reply_to=first.message_id)
    assert talk.state() == "agreed"
    again = talk.say("cancel")
    crossed = replace_talk(talk)
    talk.answer("inform", in_reply_to=again.message_id)
    assert talk.state() == CANCELLED
    crossed.answer("inform", in_reply_to=asked.message_id)
    assert crossed.state() == "done"


def replace_talk(talk: Talk) -> Talk:
    """A copy that goes on by itself."""
    other = Talk(talk.protocol)
    other.progress = msgspec.msgpack.decode(msgspec.msgpack.encode(talk.progress), type=Progress)
    return other


def test_the_nodes_failure_ends_the_run_it_is_about() -> None:
    """It breaks no rule; only a FAILURE about the initiator's last act, or its CANCEL, counts."""
    talk = Talk()
    asked = talk.say("request")
    talk.say("not-understood", NODE, WORKER)
    talk.say("confirm", NODE, ASKER, in_reply_to=asked.message_id)
    talk.say("failure", NODE, WORKER, in_reply_to=asked.message_id)
    talk.say("failure", NODE, ASKER, in_reply_to=new_id())
    assert talk.state() == "requested"
    cancel = talk.say("cancel")
    talk.say("failure", NODE, ASKER, in_reply_to=cancel.message_id)
    assert talk.state() == "requested"
    talk.say("failure", NODE, ASKER, in_reply_to=asked.message_id)
    assert talk.state() == FAILED
    quiet = Talk(None)
    quiet.say("failure", NODE, ASKER)
    assert quiet.progress is None


def test_deadlines_hold_until_the_answer() -> None:
    """The earliest of the runs; an answer takes its own away; a lasting state has none."""
    talk = Talk("contract-net")
    talk.say("cfp", reply_by=5_000)
    talk.say("cfp", ASKER, OTHER, reply_by=4_000)
    progress = talk.progress
    assert progress is not None
    assert progress.deadline == 4_000
    assert [one for one, _ in progress.unanswered(4_999)] == [OTHER]
    talk.answer("propose", OTHER)
    assert progress.deadline == 5_000
    talk.answer("propose", WORKER)
    assert progress.deadline == 0
    talk.say("reject-proposal", reply_by=9_000)
    assert progress.deadline == 0
    news = Talk("subscribe")
    news.say("subscribe")
    assert not news.progress.lasting  # type: ignore[union-attr]  # it began
    news.answer("agree")
    assert news.progress.lasting  # type: ignore[union-attr]  # likewise


def test_tables_are_checked_when_they_are_made() -> None:
    """Ambiguous steps, states that lead nowhere and shared names do not construct."""
    first = Step((START,), Role.INITIATOR, (Performative.REQUEST,), "asked")
    made: dict[str, Any] = {
        "name": "x", "aliases": (), "source": "", "about": "", "initiator": "i",
        "participant": "p", "final": frozenset({"asked"}),
    }  # fmt: skip
    good = Protocol(steps=(first,), **made)
    with pytest.raises(ValueError, match="ambiguous"):
        Protocol(steps=(first, replace(first, target="done")), **made)
    with pytest.raises(ValueError, match="stuck"):
        Protocol(steps=(replace(first, target="lost"),), **made)
    with pytest.raises(ValueError, match="two protocols"):
        by_name((good, Protocol(steps=(first,), **made)))
    assert spoken([Performative.CFP]) == "cfp"
    with pytest.raises(InternalError, match="does not know"):
        assert Progress("of tomorrow", ASKER, {WORKER: Peer("x")}).over


def test_a_record_of_before_protocols_is_read() -> None:
    """A snapshot without the newer fields decodes; one with them comes back as it was."""
    message = make_message(
        "cfp", sender=ASKER, receiver=WORKER, protocol="auction", parent_conversation_id=OTHER
    )
    record = ConversationRecord.begin(message)
    old = msgspec.msgpack.decode(msgspec.msgpack.encode(record))[:-2]
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(old), type=ConversationRecord)
    assert read.progress is None
    assert read.parent is None
    record.check(message, 10, NODE)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=ConversationRecord)
    assert again == record
    assert again.parent == OTHER
