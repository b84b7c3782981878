"""The communicative acts of FIPA SC00037, and the reasons a FAILURE names."""

from __future__ import annotations

import difflib
import enum

from caxton.errors import ValidationError

__all__ = ["FailureReason", "Performative", "parse_performative"]


class Performative(enum.Enum):
    """The communicative acts of FIPA SC00037, and Caxton's two."""

    ACCEPT_PROPOSAL = "accept-proposal"
    AGREE = "agree"
    CANCEL = "cancel"
    CFP = "cfp"
    CONFIRM = "confirm"
    DISCONFIRM = "disconfirm"
    FAILURE = "failure"
    INFORM = "inform"
    INFORM_IF = "inform-if"
    INFORM_REF = "inform-ref"
    NOT_UNDERSTOOD = "not-understood"
    PROPAGATE = "propagate"
    PROPOSE = "propose"
    PROXY = "proxy"
    QUERY_IF = "query-if"
    QUERY_REF = "query-ref"
    REFUSE = "refuse"
    REJECT_PROPOSAL = "reject-proposal"
    REQUEST = "request"
    REQUEST_WHEN = "request-when"
    REQUEST_WHENEVER = "request-whenever"
    SUBSCRIBE = "subscribe"
    HEARTBEAT = "heartbeat"
    CAPABILITY = "capability"


_BY_NAME = {item.value: item for item in Performative} | {"query": Performative.QUERY_REF}


def parse_performative(text: object, field: str = "performative") -> Performative:
    """Read a performative in any case, with ``-`` or ``_``; ``query`` means ``query-ref``.

    Raises:
        ValidationError: it is none of them; the text names the nearest.
    """
    if isinstance(text, Performative):
        return text
    if isinstance(text, str):
        name = text.strip().lower().replace("_", "-")
        found = _BY_NAME.get(name)
        if found is not None:
            return found
        near = difflib.get_close_matches(name[:60], _BY_NAME, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
    else:
        hint = ""
    raise ValidationError(
        field=field,
        value=text,
        allowed=f"a FIPA performative such as request, inform, query-ref, cfp{hint}",
    )


class FailureReason(enum.Enum):
    """Why a message could not be handled, as a FAILURE names it."""

    AGENT_NOT_FOUND = "AgentNotFound"
    AGENT_NOT_RESPONDING = "AgentNotResponding"
    NETWORK_ERROR = "NetworkError"
    RESOURCE_EXHAUSTED = "ResourceExhausted"
    MESSAGE_TOO_LARGE = "MessageTooLarge"
    INVALID_MESSAGE = "InvalidMessage"
    CIRCUIT_BREAKER_OPEN = "CircuitBreakerOpen"
    QUEUE_FULL = "QueueFull"
    TIMEOUT = "Timeout"
