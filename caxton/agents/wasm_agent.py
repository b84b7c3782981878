"""WASM agents: a guest that gets each message as JSON and answers with JSON or plain text.

The guest follows agent ABI v1 of the sandbox (``alloc``, ``handle_message``). It is given the JSON
form of the message with ``sender_name`` and ``delivery_count``. It gives back nothing, a JSON
object with ``performative`` (and ``content``), or any other text, which is sent as an INFORM. It
keeps its memory between messages until it is stopped for breaking a limit.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson

from caxton.agents.behaviour import Context, Outgoing
from caxton.agents.definition import AgentDefinition
from caxton.agents.state import AgentState
from caxton.config import Config
from caxton.config.secret import Secret
from caxton.config.setting import named_databases
from caxton.errors import AgentFileInvalid, ValidationError
from caxton.message import Message, Performative, parse_performative, to_json
from caxton.tools.guest_log import log_lines
from caxton.types import CapabilityName, ProtocolName, parse_id

if TYPE_CHECKING:
    from sandbox import Grants, Guest, Limits, Sandbox

__all__ = ["WasmBehaviour"]

logger = logging.getLogger("caxton.agents.guest")

MAX_MODULE: Final = 32 * 1024 * 1024
_OUTCOME: Final = msgspec.msgpack.Decoder(list[Outgoing])
SENT_KEYS: Final = frozenset(
    {"receiver", "capability", "performative", "content", "protocol", "new_conversation"}
)


class WasmBehaviour:
    """One version of a WASM agent. One message at a time: a guest is not for two.

    Args:
        definition: what its file says.
        module: the module's file.
        sandbox: gives the sandbox of this process; asked at the first start.
        file: the agent file, for errors.
        config: the node's settings: where granted folders and databases are.
        state: where it keeps what outlives it; nowhere when not given.

    Raises:
        AgentFileInvalid: there is no module.
    """

    concurrency = 1

    def __init__(
        self,
        definition: AgentDefinition,
        module: Path,
        sandbox: Callable[[], Sandbox],
        file: str,
        config: Config,
        state: AgentState | None = None,
    ) -> None:
        if not module.is_file():
            raise _invalid(file, f"there is no file {definition.wasm} beside the agent file")
        self.definition = definition
        self._path = module
        self._file = file
        self._config = config
        self._state = state
        self._namespace = f"agent/{definition.slug}"
        self._sandbox = sandbox
        self._guest: Guest | None = None

    async def start(self) -> None:
        """Compile the module, or find it compiled, and open it.

        Raises:
            AgentFileInvalid: the sandbox refuses the module.
        """
        if self._guest is not None:
            return
        from sandbox import InvalidSetting, SandboxBusy, SandboxError

        try:
            data = self._path.read_bytes()
            if len(data) > MAX_MODULE:
                raise _invalid(self._file, f"{len(data):,} bytes; at most {MAX_MODULE:,} allowed")
            box = self._sandbox()
            module = await box.prepare(data)
            self._guest = await box.open_agent(
                module, self._limits(), self._grants(), owner=self.definition.slug
            )
        except SandboxBusy:
            raise
        except (OSError, SandboxError, InvalidSetting) as error:
            raise _invalid(self._file, str(error)[:79]) from error

    def _limits(self) -> Limits:
        from sandbox import Limits

        limits = self.definition.limits
        given = {
            "fuel": limits.fuel,
            "memory_bytes": limits.memory_bytes,
            "wall_ms": limits.response_timeout_ms and min(limits.response_timeout_ms, 600_000),
        }
        return Limits(**{name: value for name, value in given.items() if value is not None})

    def _grants(self) -> Grants:
        from caxton.tools.grants import grants_of

        return grants_of(
            self.definition.granted(""),
            workspace=self._config.workspace,
            namespace=self._namespace,
            environment=os.environ,
            databases=named_databases(Secret(self._config.tools_databases)),
        )

    async def handle(self, message: Message, context: Context) -> Sequence[Outgoing]:
        """Hand one message to the guest.

        Raises:
            SandboxError: the guest broke a limit or trapped; it is dead.
            CaxtonError: what it wrote under its keys could not be kept.
            ValidationError: what it gave back is no message.
        """
        if self._guest is None:
            raise RuntimeError(f"{self.definition.name} was not started")
        if self._state is not None and context.delivery_count > 1:
            before = self._state.outcome(self._namespace, message.message_id)
            if before is not None:
                return _OUTCOME.decode(before)
        body = to_json(message)
        body["sender_name"] = context.name_of(message.sender)
        body["delivery_count"] = context.delivery_count
        reply = await self._guest.exchange(orjson.dumps(body))
        log_lines(logger, self.definition.name, reply.logs, reply.logs_dropped)
        sent = [_sent(raw) for raw in reply.sent]
        answer = _answer(reply.data)
        outputs = [answer, *sent] if answer is not None else sent
        if reply.written and self._state is not None:
            # Before its answer leaves: what it tells of is kept.
            outcome = (message.message_id, msgspec.msgpack.encode(outputs))
            await self._state.write(self._namespace, reply.written, outcome)
        return outputs

    async def close(self) -> None:
        """Free the guest's memory."""
        guest, self._guest = self._guest, None
        if guest is not None:
            await guest.close()


def _invalid(file: str, rule: str) -> AgentFileInvalid:
    return AgentFileInvalid(
        file=file, line=1, column=1, field="wasm", value="", rule=rule, suggestion=""
    )


def _object(data: bytes) -> dict[str, Any] | None:
    if data[:1] != b"{":
        return None
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _answer(data: bytes) -> Outgoing | None:
    """The guest's reply: nothing, a message, or a text."""
    if not data:
        return None
    value = _object(data)
    if value is None or "performative" not in value:
        return Outgoing(Performative.INFORM, data)
    act = parse_performative(value["performative"], "reply.performative")
    return Outgoing(act, _content(value.get("content", "")))


def _sent(data: bytes) -> Outgoing:
    """A message that the guest sent to someone else."""
    value = _object(data)
    if value is None:
        raise ValidationError(field="sent", value=data[:40], allowed="a JSON object")
    unknown = value.keys() - SENT_KEYS
    receiver, capability = value.get("receiver"), value.get("capability")
    if unknown or (receiver is None) == (capability is None):
        wrong = ", ".join(sorted(unknown)) or "receiver"
        raise ValidationError(
            field="sent", value=wrong,
            allowed=f"{', '.join(sorted(SENT_KEYS))}, with one of receiver and capability",
        )  # fmt: skip
    protocol = value.get("protocol")
    return Outgoing(
        parse_performative(value.get("performative", "inform"), "sent.performative"),
        _content(value.get("content", "")),
        receiver=None if receiver is None else parse_id(receiver, "sent.receiver"),
        capability=(
            None if capability is None else CapabilityName.parse(capability, "sent.capability")
        ),
        protocol=None if protocol is None else ProtocolName.parse(protocol, "sent.protocol"),
        new_conversation=value.get("new_conversation") is True,
    )


def _content(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else orjson.dumps(value)
