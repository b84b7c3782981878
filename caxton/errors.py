"""The error tree: one table, stable codes, values in every text.

Each class below is one row: its code, HTTP status, title, text with named fields, what to do
next, and whether trying again can help. ``ERRORS`` is the table made from the rows; the REST
problem documents (RFC 9457), ``caxton error CODE`` and ``docs/reference/errors.md`` come from it.

::

    CaxtonError
    ├── AgentError            AgentNotFound, AgentNotResponding, AgentFailed, InvalidState, ...
    ├── RoutingError          ValidationError, NoCapabilityProviders, ProtocolViolation, ...
    ├── DeploymentError       ReloadFailed
    ├── ResourceError         MessageTooLarge, QueueFull, RateLimited, CircuitOpen, Timeout, ...
    ├── SecurityError         NotAuthenticated, NotAuthorized
    ├── ConfigurationError    ConfigInvalid, NodeAlreadyRunning, AddressInUse
    ├── StorageError          StorageFull, StorageBroken, StorageCorrupt, ForeignFolder
    ├── ToolError             ToolFailed, ToolInvalid, ToolBuildFailed, ToolchainMissing, ...
    ├── ModelError            ModelUnavailable
    ├── RecollectionError     EntityNotFound, RelationNotFound, EntityConflict, ...
    └── ObservabilityError
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "ERRORS",
    "AddressInUse",
    "AgentError",
    "AgentFailed",
    "AgentFileInvalid",
    "AgentNotFound",
    "AgentNotResponding",
    "AgentOffline",
    "BudgetSpent",
    "CapabilityNotFound",
    "CaxtonError",
    "CircuitOpen",
    "ClientNotFound",
    "ConfigInvalid",
    "ConfigurationError",
    "ContentNotFound",
    "ConversationNotFound",
    "DeadLetterNotFound",
    "DeploymentError",
    "EmbeddingUnavailable",
    "EntityConflict",
    "EntityNotFound",
    "EntityTooLarge",
    "ForeignFolder",
    "ImportInvalid",
    "InternalError",
    "InvalidState",
    "MemoryFull",
    "MemoryUnavailable",
    "MessageTooLarge",
    "MethodNotAllowed",
    "ModelError",
    "ModelUnavailable",
    "NoCapabilityProviders",
    "NodeAlreadyRunning",
    "NodeNotReady",
    "NodeUnreachable",
    "NotAuthenticated",
    "NotAuthorized",
    "NotFound",
    "ObservabilityError",
    "PoisonMessage",
    "Postponed",
    "PromptTemplateInvalid",
    "ProtocolViolation",
    "QueueFull",
    "RateLimited",
    "RecollectionError",
    "RelationNotFound",
    "ReloadFailed",
    "RequestTimeout",
    "ResourceError",
    "RoutingError",
    "SecurityError",
    "StorageBroken",
    "StorageCorrupt",
    "StorageError",
    "StorageFull",
    "Timeout",
    "ToolBuildFailed",
    "ToolError",
    "ToolFailed",
    "ToolInvalid",
    "ToolNotAllowed",
    "ToolNotFound",
    "ToolchainMissing",
    "TurnStopped",
    "UnsupportedMediaType",
    "ValidationError",
    "error_from_code",
]

ERRORS: dict[str, type[CaxtonError]] = {}
"""Every error that can be raised, by its stable code."""

_SHOWN = 200
_LONGEST = {
    "value": 80, "allowed": 500, "near": 500, "reason": 500, "detail": 1_000, "rule": 500,
    "said": 4_000,
}  # fmt: skip
"""Characters that a field keeps: least of what came from outside, most of what is ours."""


def _shorten(value: object, longest: int) -> object:
    if isinstance(value, str) and len(value) > longest:
        return value[: longest - 1] + "…"
    return value


class CaxtonError(Exception):
    """Root of the tree. Subclasses are rows of the error table.

    Construct with the row's named fields; long texts are cut, so that an error never
    echoes a whole body. ``fields`` keeps what was given, for problem documents.
    """

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    text: ClassVar[str] = "{reason}"
    remedy: ClassVar[str] = "Look at the node's log for the trace id and report it."
    retryable: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Enter the row into the table when the class states a code of its own."""
        super().__init_subclass__(**kwargs)
        if "code" in cls.__dict__:
            if cls.code in ERRORS:
                raise TypeError(f"error code {cls.code} is defined twice")
            ERRORS[cls.code] = cls

    def __init__(self, **fields: object) -> None:
        self.fields: dict[str, object] = {
            key: _shorten(value, _LONGEST.get(key, _SHOWN)) for key, value in fields.items()
        }
        super().__init__(self.detail)

    @property
    def detail(self) -> str:
        """The text of this occurrence, with its values filled in."""
        try:
            return self.text.format(**self.fields)
        except (KeyError, IndexError):
            listed = ", ".join(f"{key}={value!r}" for key, value in self.fields.items())
            return f"{self.title}: {listed}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes by code and fields."""
        return (error_from_code, (self.code, self.fields))


class AgentError(CaxtonError):
    """Something about an agent: it is not there, does not answer, or failed."""


class RoutingError(CaxtonError):
    """A message cannot go where it was sent, or may not."""


class DeploymentError(CaxtonError):
    """A version of an agent cannot be put into service."""


class ResourceError(CaxtonError):
    """A limit was reached; most of these pass with time."""


class SecurityError(CaxtonError):
    """The caller may not do this."""


class ConfigurationError(CaxtonError):
    """The node was told something it cannot do."""


class StorageError(CaxtonError):
    """The journal or another store failed. Nothing is acknowledged while this lasts."""

    code = "STORAGE_ERROR"
    status = 503
    title = "Storage error"
    text = "the store `{store}` failed: {reason}"
    remedy = "Check the disk and the permissions of the data folder, then retry."
    retryable = True


class ObservabilityError(CaxtonError):
    """Telemetry could not be written. Never affects messages."""


class ToolError(CaxtonError):
    """A tool call went wrong."""


class RecollectionError(CaxtonError):
    """Something about the memory: what is asked for is not in it, or it cannot answer."""


class ModelError(CaxtonError):
    """A language-model provider went wrong."""


class InternalError(CaxtonError):
    """A fault of ours."""

    code = "INTERNAL_ERROR"


class AgentNotFound(AgentError):
    """No agent has this id or name."""

    code = "AGENT_NOT_FOUND"
    status = 404
    title = "Agent not found"
    text = "no agent `{agent}` is registered{near}"
    remedy = "List the agents with `caxton agent ls`, or address a capability instead."


class AgentNotResponding(AgentError):
    """The agent exists and takes no messages now."""

    code = "AGENT_NOT_RESPONDING"
    status = 503
    title = "Agent not responding"
    text = "agent `{agent}` is {state} and takes no messages"
    remedy = "Look at its state with `caxton agent ls`; start it or wait for its restart."
    retryable = True


class AgentOffline(AgentError):
    """The agent is registered and not in service; its messages wait for it."""

    code = "AGENT_OFFLINE"
    status = 503
    title = "Agent offline"
    text = "agent `{agent}` is {state}; the message waits until it is back"
    remedy = "See why with `caxton agent show`; correct its file, or remove the agent."
    retryable = True


class PoisonMessage(AgentError):
    """The process of the agent died each time it was given this message alone."""

    code = "POISON_MESSAGE"
    status = 502
    title = "Poison message"
    text = "the process of agent `{agent}` died {kills} times on this message"
    remedy = "Mend the agent, then try the dead letter again with `caxton dead-letter retry`."


class Postponed(AgentError):
    """A message waits for an earlier one of its conversation that failed and comes again."""

    code = "POSTPONED"
    status = 503
    title = "Waits for an earlier message"
    text = "agent `{agent}` takes this message after {after}, which it failed on and gets again"
    remedy = "Nothing to do: the order within a conversation is kept."
    retryable = True


class AgentFailed(AgentError):
    """The agent's handler raised for this message."""

    code = "AGENT_FAILED"
    status = 502
    title = "Agent failed"
    text = "agent `{agent}` failed on this message {attempts} times: {reason}"
    remedy = "The traceback is in the node's log; correct the agent file or the message."


class InvalidState(AgentError):
    """An agent cannot move between these two states."""

    code = "INVALID_STATE"
    status = 409
    title = "Invalid state"
    text = "agent `{agent}` cannot go from {current} to {wanted}"
    remedy = "See docs/reference/agent-lifecycle.md for what may follow each state."


class CapabilityNotFound(AgentError):
    """No registered agent offers this capability."""

    code = "CAPABILITY_NOT_FOUND"
    status = 404
    title = "Capability not found"
    text = "no registered agent offers `{capability}`{near}"
    remedy = "List the capabilities with `caxton capability ls`."


class ClientNotFound(AgentError):
    """No client identity has this name or id."""

    code = "CLIENT_NOT_FOUND"
    status = 404
    title = "Client not found"
    text = "no client `{client}` is registered"
    remedy = "List the clients with `caxton client ls`, or register it."


class AgentFileInvalid(AgentError):
    """An agent file breaks a rule; ``errors`` lists all of them with their places."""

    code = "AGENT_FILE_INVALID"
    status = 422
    title = "Agent file invalid"
    text = "{file}:{line}:{column} `{field}`: {rule}"
    remedy = "Correct the file and save it; the version that ran before goes on answering."


class PromptTemplateInvalid(AgentError):
    """A prompt template is outside what is allowed, or cannot be rendered with this message."""

    code = "PROMPT_TEMPLATE_INVALID"
    status = 422
    title = "Prompt template invalid"
    text = "{template}, line {line}: {reason}"
    remedy = "Correct the template in the agent file, or send what it asks for."


class TurnStopped(AgentError):
    """A turn of a configuration agent came to no answer and was ended."""

    code = "TURN_STOPPED"
    status = 502
    title = "Turn stopped"
    text = "the turn of `{agent}` was stopped: {reason}"
    remedy = "Ask more plainly, or look at the agent's prompt, tools and limits."


class NotFound(RoutingError):
    """No such thing at this address."""

    code = "NOT_FOUND"
    status = 404
    title = "Not found"
    text = "there is no {kind} `{id}`"
    remedy = "See the routes at /openapi.json."


class MethodNotAllowed(RoutingError):
    """The resource does not take this HTTP method."""

    code = "METHOD_NOT_ALLOWED"
    status = 405
    title = "Method not allowed"
    text = "{method} given, {allowed} allowed"
    remedy = "See the routes at /openapi.json."


class UnsupportedMediaType(RoutingError):
    """The request's body is in a form that is not read here. Nothing was parsed."""

    code = "UNSUPPORTED_MEDIA_TYPE"
    status = 415
    title = "Unsupported media type"
    text = "`{field}`: {value} given, {allowed} allowed"
    remedy = "Send JSON in UTF-8, uncompressed, with `Content-Type: application/json`."


class RequestTimeout(ResourceError):
    """The request's body did not arrive in time. Nothing was parsed."""

    code = "REQUEST_TIMEOUT"
    status = 408
    title = "Request timed out"
    text = "the body did not arrive whole within {timeout_ms} ms"
    remedy = "Send the request again over a connection that is fast enough for it."
    retryable = True


class ConversationNotFound(RoutingError):
    """No conversation has this id, or its history has been pruned."""

    code = "CONVERSATION_NOT_FOUND"
    status = 404
    title = "Conversation not found"
    text = "no conversation `{conversation}` is kept here"
    remedy = "List the conversations with `caxton conversation ls`."


class DeadLetterNotFound(RoutingError):
    """No dead letter has this id: it was tried again, discarded, or crowded out by newer ones."""

    code = "DEAD_LETTER_NOT_FOUND"
    status = 404
    title = "Dead letter not found"
    text = "no dead letter `{letter}` is kept here"
    remedy = "List the dead letters with `caxton dead-letter ls`."


class ContentNotFound(RoutingError):
    """No content is kept under this hash: it never was, or larger or newer ones crowded it out."""

    code = "CONTENT_NOT_FOUND"
    status = 404
    title = "Content not found"
    text = "no content is kept under `{content}`"
    remedy = "Have the tool called again, or raise `tools.keep_bytes`."


class ValidationError(RoutingError):
    """A field is missing, of the wrong type or out of range. Nothing was changed."""

    code = "VALIDATION_ERROR"
    status = 422
    title = "Validation error"
    text = "`{field}`: {value} given, {allowed} allowed"
    remedy = "Correct the named field and send it again."

    def __init__(self, *, field: str, value: object, allowed: str) -> None:
        shown = value if isinstance(value, str) and value.isprintable() else repr(value)
        super().__init__(field=field, value=shown, allowed=allowed)


class NoCapabilityProviders(RoutingError):
    """No running agent offers the capability asked for."""

    code = "NO_CAPABILITY_PROVIDERS"
    status = 404
    title = "No provider of this capability"
    text = "no running agent offers `{capability}`{near}"
    remedy = "List the capabilities with `caxton capability ls`, or start an agent that offers it."
    retryable = True


class ProtocolViolation(RoutingError):
    """The act does not fit the state of its conversation."""

    code = "PROTOCOL_VIOLATION"
    status = 409
    title = "Protocol violation"
    text = "`{performative}` does not fit conversation {conversation}: {rule}"
    remedy = "Send an act that the protocol allows here, or start a new conversation."


class ReloadFailed(DeploymentError):
    """A changed agent file could not be put into service."""

    code = "RELOAD_FAILED"
    status = 422
    title = "Reload failed"
    text = "{file} was not reloaded: {reason}"
    remedy = "Correct the file; the version that ran before goes on answering."


class MessageTooLarge(ResourceError):
    """The content is over the configured limit."""

    code = "MESSAGE_TOO_LARGE"
    status = 413
    title = "Message too large"
    text = "`{field}`: {size} bytes given, at most {limit} allowed"
    remedy = "Send less, or raise `limits.message_bytes` (at most 10 MiB)."


class QueueFull(ResourceError):
    """A bounded queue has no room. Nothing was accepted."""

    code = "QUEUE_FULL"
    status = 429
    title = "Queue full"
    text = "{queue} holds {depth}, at most {limit} may wait there"
    remedy = "Wait and retry; if it lasts, the agents behind it are too slow or stopped."
    retryable = True


class RateLimited(ResourceError):
    """The sender sends faster than its limit."""

    code = "RATE_LIMITED"
    status = 429
    title = "Rate limited"
    text = "{sender} may send {limit} messages a second"
    remedy = "Wait as long as Retry-After says."
    retryable = True


class BudgetSpent(ResourceError):
    """The agent's budget does not allow the next call; it was not made."""

    code = "BUDGET_SPENT"
    status = 429
    title = "Budget spent"
    text = "`{agent}` has spent {spent} of {limit} {what} per {window}"
    remedy = "Wait for the window to pass, start a new conversation, or raise `budget`."
    retryable = True


class CircuitOpen(ResourceError):
    """The breaker of the destination is open."""

    code = "CIRCUIT_OPEN"
    status = 503
    title = "Circuit breaker open"
    text = "the breaker of `{target}` is open for {retry_after_ms} ms more"
    remedy = "Wait for the probe, or see why the destination failed."
    retryable = True


class Timeout(ResourceError):
    """Nothing came back before the deadline."""

    code = "TIMEOUT"
    status = 504
    title = "Timed out"
    text = "no {what} within {timeout_ms} ms"
    remedy = "Give it longer, or see what the agent is doing with `caxton agent ls`."
    retryable = True


class NotAuthenticated(SecurityError):
    """The caller gave no token where one is asked for, or a wrong one."""

    code = "NOT_AUTHENTICATED"
    status = 401
    title = "Not authenticated"
    text = "{what}: {reason}"
    remedy = "Send the header `Authorization: Bearer TOKEN` with the node's token (`mcp.token`)."


class NotAuthorized(SecurityError):
    """The caller has no key, or its key lacks the right."""

    code = "NOT_AUTHORIZED"
    status = 403
    title = "Not authorised"
    text = "{who} may not {action}"
    remedy = "Use a key with this right."


class ConfigInvalid(ConfigurationError):
    """The configuration breaks a rule; the node does not start."""

    code = "CONFIG_INVALID"
    status = 422
    title = "Configuration invalid"
    text = "`{field}` ({origin}): {value} given, {allowed} allowed"
    remedy = "Correct the setting; `caxton config show` lists all of them."

    def __init__(self, *, field: str, value: object, allowed: str, origin: str) -> None:
        super().__init__(field=field, value=repr(value), allowed=allowed, origin=origin)


class NodeAlreadyRunning(ConfigurationError):
    """Another node holds this data folder."""

    code = "NODE_ALREADY_RUNNING"
    status = 409
    title = "Node already running"
    text = "a node with pid {pid} already runs on {data}"
    remedy = "Use it (`caxton monitor`), stop it (`caxton stop`), or give another --data folder."


class AddressInUse(ConfigurationError):
    """The API address is taken."""

    code = "ADDRESS_IN_USE"
    status = 409
    title = "Address in use"
    text = "{host}:{port} is taken by another program"
    remedy = "Give another port: `--port`, `CAXTON_PORT`, or 0 for a free one."


class NodeUnreachable(ConfigurationError):
    """No node answers at the address."""

    code = "NODE_UNREACHABLE"
    status = 503
    title = "Node unreachable"
    text = "no node answers at {url}: {reason}"
    remedy = "Start one with scripts/up, or name another with --url."
    retryable = True


class NodeNotReady(ResourceError):
    """A part of the node is starting, restarting or draining."""

    code = "NODE_NOT_READY"
    status = 503
    title = "Node not ready"
    text = "{part} is not ready"
    remedy = "Wait and retry; `caxton monitor` shows which part is missing."
    retryable = True


class StorageFull(StorageError):
    """No room on the disk or in the map. Reads go on; nothing is acknowledged."""

    code = "STORAGE_FULL"
    status = 507
    title = "Storage full"
    text = "the store `{store}` is full: {reason}"
    remedy = "Free disk space or raise `storage.map_bytes`; the node recovers by itself."
    retryable = True


class StorageBroken(StorageError):
    """The store could not write its own state, and has to be opened again."""

    code = "STORAGE_BROKEN"
    status = 503
    title = "Storage broken"
    text = "the store `{store}` has to be opened again: {reason}"
    remedy = "Look at the disk's health. A shard restarts by itself; else restart the node."
    retryable = True


class StorageCorrupt(StorageError):
    """A record does not read back."""

    code = "STORAGE_CORRUPT"
    status = 500
    title = "Storage corrupt"
    text = "the store `{store}` holds an unreadable record: {reason}"
    remedy = "Restore a backup; nothing was thrown away."
    retryable = False


class ForeignFolder(StorageError):
    """The data folder was not made by Caxton, or by a later version."""

    code = "FOREIGN_FOLDER"
    status = 409
    title = "Not a data folder of this version"
    text = "{data}: {reason}"
    remedy = "Give an empty folder, or the version of Caxton that made this one."
    retryable = False


class ToolFailed(ToolError):
    """The sandbox or the tool itself refused."""

    code = "TOOL_FAILED"
    status = 502
    title = "Tool failed"
    text = "tool `{tool}` failed ({reason}): {detail}"
    remedy = "See the tool's limits and grants in the agent file."


class ToolInvalid(ToolError):
    """A tool's folder, description, policy or module breaks a rule."""

    code = "TOOL_INVALID"
    status = 422
    title = "Tool not usable"
    text = "tool `{tool}`: {reason}"
    remedy = "Look at it with `caxton tool inspect`; docs/how-to/write-a-tool.md shows whole ones."


class ToolNotFound(ToolError):
    """There is no tool of this name, and no file."""

    code = "TOOL_NOT_FOUND"
    status = 404
    title = "Tool not found"
    text = "there is no tool `{tool}`; there is {near}"
    remedy = "`caxton tool list` shows the tools; a file is named with its path."


class ToolchainMissing(ToolError):
    """No compiler for the language of a tool is installed."""

    code = "TOOLCHAIN_MISSING"
    status = 424
    title = "Toolchain missing"
    text = "{language} needs one of: {tried}"
    remedy = "Install one with the command behind it, then build again."


class ToolBuildFailed(ToolError):
    """The compiler ended with an error, or went on for too long."""

    code = "TOOL_BUILD_FAILED"
    status = 422
    title = "Tool not built"
    text = "{tool}: {toolchain} {reason}\n{said}"
    remedy = "Correct the source and build again; the module that was there is unchanged."


class ToolNotAllowed(ToolError):
    """The agent's file does not list this tool, or it is not installed."""

    code = "TOOL_NOT_ALLOWED"
    status = 403
    title = "Tool not allowed"
    text = "agent `{agent}` may not call `{tool}`: {reason}"
    remedy = "Add it to `tools:` in the agent file."


class ModelUnavailable(ModelError):
    """The language-model provider gave no answer."""

    code = "MODEL_UNAVAILABLE"
    status = 502
    title = "Language model unavailable"
    text = "provider `{provider}` failed ({kind}): {reason}"
    remedy = "Check `llm.base_url`, the key and the model name; `caxton doctor` tests them."
    retryable = True


class EntityNotFound(RecollectionError):
    """Nothing of this name is remembered in the scope."""

    code = "ENTITY_NOT_FOUND"
    status = 404
    title = "Entity not found"
    text = "nothing called `{entity_name}` is remembered in {memory_scope}"
    remedy = "Search with `caxton memory search`, or store it first."


class RelationNotFound(RecollectionError):
    """There is no such relation in the scope."""

    code = "RELATION_NOT_FOUND"
    status = 404
    title = "Relation not found"
    text = (
        "no relation `{relation_type}` goes from `{from_entity}` to `{to_entity}` in {memory_scope}"
    )
    remedy = "See what is there with `caxton memory graph NAME`."


class EntityConflict(RecollectionError):
    """What is remembered under this name is not what the writer thinks it is."""

    code = "ENTITY_CONFLICT"
    status = 409
    title = "Entity conflict"
    text = "`{entity_name}` in {memory_scope}: {reason}"
    remedy = "Read it again, then write with its own type, or under another name."


class EntityTooLarge(RecollectionError):
    """There is more text than one entity may hold. Nothing was written."""

    code = "ENTITY_TOO_LARGE"
    status = 413
    title = "Entity too large"
    text = "`{field}`: {size} bytes given, at most {limit} allowed"
    remedy = "Note less, or spread it over several entities and relate them."


class MemoryUnavailable(RecollectionError):
    """The memory cannot answer now."""

    code = "MEMORY_UNAVAILABLE"
    status = 503
    title = "Memory unavailable"
    text = "the memory ({backend}) cannot answer: {reason}"
    remedy = "Look at `caxton doctor` and at the settings under `memory`; agents go on without it."
    retryable = True


class MemoryFull(RecollectionError):
    """As many entities are remembered in the scope as may be. Nothing was written."""

    code = "MEMORY_FULL"
    status = 507
    title = "Memory full"
    text = "{memory_scope} holds {count} entities, at most {limit} may be there"
    remedy = "Forget or merge some, or raise `memory.max_entities_per_agent`."


class EmbeddingUnavailable(RecollectionError):
    """No model makes vectors of texts; words are searched all the same."""

    code = "EMBEDDING_UNAVAILABLE"
    status = 503
    title = "Embedding model unavailable"
    text = "the model {model} makes no vectors: {reason}"
    remedy = "Run scripts/memory-model, or name a folder with the model in `memory.model`."


class ImportInvalid(RecollectionError):
    """What is to be imported does not read."""

    code = "IMPORT_INVALID"
    status = 422
    title = "Import invalid"
    text = "{source}, {place}: {reason}"
    remedy = "Nothing after this place was taken up. Mend it and import again."


def error_from_code(code: str, fields: dict[str, Any]) -> CaxtonError:
    """Build the error that ``code`` names again, on the other side of a process or HTTP border."""
    cls = ERRORS.get(code, InternalError)
    error = cls.__new__(cls)
    CaxtonError.__init__(error, **fields)
    return error
