"""The command table: every command, from which the tree, the help and the reference come.

Options are written where they are read, in the command's own module; what this table holds is
enough to draw the tree and the help without importing any of those modules.
"""

from __future__ import annotations

from typing import Final

from caxton.cli.command_row import CommandRow
from caxton.cli.memory_rows import MEMORY_COMMANDS
from caxton.cli.tool_rows import TOOL_COMMANDS

__all__ = ["COMMANDS", "GROUPS", "SECTIONS", "CommandRow", "find", "nearest"]


SECTIONS: Final = (
    "Run a node", "Talk", "Look", "Remember", "Make tools", "Check and configure",
)  # fmt: skip

COMMANDS: Final = (
    CommandRow(
        ("serve",),
        "serve:serve",
        "Run a node",
        "Start a node on a folder of agent files.",
        False,
        ("caxton serve --agents examples/agents", "caxton serve --detach --port 0"),
    ),
    CommandRow(
        ("stop",),
        "stop:stop",
        "Run a node",
        "Drain the node of the data folder and end it.",
        False,
        ("caxton stop", "caxton stop --data ./caxton-data --force"),
    ),
    CommandRow(
        ("message", "send"),
        "send:send",
        "Talk",
        "Say something to an agent, and print what it answers.",
        False,
        (
            'caxton send --to Greeter --performative query-ref "who are you?"',
            'caxton send --capability data-analysis "mean of price in examples/data/sales.csv"',
        ),
        (("send",),),
    ),
    CommandRow(
        ("agent", "ls"),
        "agent:ls",
        "Look",
        "All agents with their state, mailbox and last reload.",
        True,
        ("caxton agent ls", "caxton agent ls --capability data-analysis --json"),
    ),
    CommandRow(
        ("agent", "show"),
        "agent:show",
        "Look",
        "Everything the node knows about one agent.",
        True,
        ("caxton agent show Greeter", "caxton agent show Greeter --json"),
    ),
    CommandRow(
        ("agent", "validate"),
        "agent:validate",
        "Check and configure",
        "Check agent files without a node; report every error with its place.",
        True,
        ("caxton agent validate examples/agents", "caxton agent validate Greeter.md --json"),
    ),
    CommandRow(
        ("agent", "drain"),
        "agent_orders:drain",
        "Run a node",
        "Have agents finish what they have and stop.",
        False,
        ("caxton agent drain Greeter", "caxton agent drain Greeter Echo --json"),
    ),
    CommandRow(
        ("agent", "stop"),
        "agent_orders:stop",
        "Run a node",
        "Stop agents now; what they had comes again.",
        False,
        ("caxton agent stop Greeter", "caxton agent stop Greeter Echo --json"),
    ),
    CommandRow(
        ("agent", "start"),
        "agent_orders:start",
        "Run a node",
        "Put stopped or failed agents into service.",
        False,
        ("caxton agent start Greeter", "caxton agent start Greeter Echo --json"),
    ),
    CommandRow(
        ("capability", "ls"),
        "capability:ls",
        "Look",
        "What agents offer, and how one of them is chosen.",
        True,
        ("caxton capability ls", "caxton capability ls --json"),
    ),
    CommandRow(
        ("capability", "show"),
        "capability:show",
        "Look",
        "The providers of one capability.",
        True,
        ("caxton capability show greeting", "caxton capability show greeting --json"),
    ),
    CommandRow(
        ("capability", "set"),
        "capability:set_",
        "Run a node",
        "Choose providers in another way.",
        False,
        (
            "caxton capability set greeting --strategy round_robin",
            "caxton capability set greeting --strategy default",
        ),
    ),
    CommandRow(
        ("audit", "show"),
        "audit:show",
        "Look",
        "What came, changed and went; reads the data folder.",
        False,
        ("caxton audit show", "caxton audit show --event agent.changed --json"),
    ),
    CommandRow(
        ("audit", "verify"),
        "audit:verify",
        "Look",
        "Whether the audit trail is whole; reads the data folder.",
        False,
        ("caxton audit verify",),
    ),
    CommandRow(
        ("storage", "verify"),
        "storage:verify",
        "Look",
        "Read and check every record of the data folder.",
        False,
        ("caxton storage verify", "caxton storage verify --json"),
    ),
    CommandRow(
        ("storage", "backup"),
        "storage:backup",
        "Run a node",
        "Copy the data folder's stores to a new folder; its node may run.",
        False,
        ("caxton storage backup ~/backups/monday",),
    ),
    CommandRow(
        ("storage", "restore"),
        "storage:restore",
        "Run a node",
        "Make a data folder from a backup.",
        False,
        ("caxton storage restore ~/backups/monday --data restored",),
    ),
    CommandRow(
        ("storage", "compact"),
        "storage:compact",
        "Run a node",
        "Give back the room that removed records left; the node must be stopped.",
        False,
        ("caxton storage compact",),
    ),
    CommandRow(
        ("breaker", "ls"),
        "breakers:ls",
        "Look",
        "Agents that failed, and whether messages go through to them.",
        True,
        ("caxton breaker ls", "caxton breaker ls --json"),
    ),
    CommandRow(
        ("breaker", "reset"),
        "breakers:reset",
        "Run a node",
        "Let messages through to an agent again, at once.",
        True,
        ("caxton breaker reset Greeter",),
    ),
    CommandRow(
        ("route", "ls"),
        "routes:ls",
        "Look",
        "Where the messages of each running agent go.",
        True,
        ("caxton route ls", "caxton route ls --json"),
    ),
    CommandRow(
        ("client", "ls"),
        "clients:ls",
        "Look",
        "Identities that send from outside of the node.",
        True,
        ("caxton client ls", "caxton client ls --json"),
    ),
    CommandRow(
        ("client", "show"),
        "clients:show",
        "Look",
        "One identity with its metadata.",
        True,
        ("caxton client show web", "caxton client show web --json"),
    ),
    CommandRow(
        ("client", "register"),
        "clients:register",
        "Run a node",
        "Let a new identity send, or change its metadata.",
        False,
        ("caxton client register web", "caxton client register web --metadata team=shop"),
    ),
    CommandRow(
        ("client", "rm"),
        "clients:rm",
        "Run a node",
        "Let an identity send no more.",
        False,
        ("caxton client rm web", "caxton client rm web --json"),
    ),
    CommandRow(
        ("conversation", "ls"),
        "conversation:ls",
        "Look",
        "Conversations, the newest activity first.",
        True,
        ("caxton conversation ls", "caxton conversation ls --limit 10 -o name"),
    ),
    CommandRow(
        ("conversation", "show"),
        "conversation:show",
        "Look",
        "The messages of one conversation, as a tree of replies.",
        True,
        ("caxton conversation show 019a5c1e", "caxton conversation show 019a5c1e --json"),
    ),
    CommandRow(
        ("dead-letter", "ls"),
        "dead_letter:ls",
        "Look",
        "Messages that could not be handled, the latest first.",
        True,
        ("caxton dead-letter ls", "caxton dead-letter ls --limit 10 --json"),
    ),
    CommandRow(
        ("dead-letter", "show"),
        "dead_letter:show",
        "Look",
        "Why a message could not be handled, with its content and traceback.",
        True,
        ("caxton dead-letter show 0-1234", "caxton dead-letter show 0-1234 --json"),
    ),
    CommandRow(
        ("dead-letter", "retry"),
        "dead_letter:retry",
        "Talk",
        "Have dead letters handled once more.",
        False,
        ("caxton dead-letter retry 0-1234", "caxton dead-letter retry --all"),
    ),
    CommandRow(
        ("dead-letter", "discard"),
        "dead_letter:discard",
        "Talk",
        "Remove dead letters for good.",
        False,
        ("caxton dead-letter discard 0-1234", "caxton dead-letter discard --all --yes"),
    ),
    CommandRow(
        ("mcp", "ls"),
        "mcp:ls",
        "Look",
        "MCP servers that the node uses, and every tool.",
        True,
        ("caxton mcp ls", "caxton mcp ls --json"),
    ),
    CommandRow(
        ("mcp", "serve"),
        "mcp:serve",
        "Run a node",
        "Serve a running node to an MCP client, on standard input and output.",
        True,
        ("caxton mcp serve --stdio",),
    ),
    CommandRow(
        ("monitor",),
        "monitor:monitor",
        "Look",
        "Watch the node live in the terminal.",
        True,
        ("caxton monitor", "caxton monitor --once"),
        (("top",),),
    ),
    CommandRow(
        ("status",),
        "status:status",
        "Look",
        "The node on one screen; says so when none runs.",
        True,
        ("caxton status", "caxton status --json"),
    ),
    CommandRow(
        ("events",),
        "events:events",
        "Look",
        "What happened lately: reloads, restarts, dead letters.",
        True,
        ("caxton events", "caxton events --follow --json"),
    ),
    CommandRow(
        ("doctor",),
        "doctor:doctor",
        "Check and configure",
        "Check machine, installation, folders, model and node.",
        True,
        ("caxton doctor", "caxton doctor llm tools --json"),
    ),
    CommandRow(
        ("config", "show"),
        "config:show",
        "Check and configure",
        "Every setting with its value.",
        True,
        ("caxton config show --origin", "caxton config show --json"),
    ),
    CommandRow(
        ("config", "validate"),
        "config:validate",
        "Check and configure",
        "Check a configuration file without starting anything.",
        True,
        ("caxton config validate", "caxton config validate caxton.toml"),
    ),
    CommandRow(
        ("error",),
        "error:error",
        "Check and configure",
        "Explain an error code; works without a node.",
        True,
        ("caxton error QUEUE_FULL", "caxton error --json"),
    ),
    CommandRow(
        ("completion",),
        "completion:completion",
        "Check and configure",
        "Print the script that completes commands in your shell.",
        True,
        ("caxton completion bash > ~/.local/share/bash-completion/completions/caxton",),
    ),
    *MEMORY_COMMANDS,
    *TOOL_COMMANDS,
    CommandRow(
        ("tool", "conformance"),
        "tool_conformance:conformance",
        "Make tools",
        "Run a folder of WASI tests against the sandbox.",
        True,
        ("caxton tool conformance wasi-testsuite/tests", "caxton tool conformance DIR --json"),
    ),
    CommandRow(
        ("help",),
        "help:help_",
        "Check and configure",
        "Help for a command, or the whole command table.",
        True,
        ("caxton help agent ls", "caxton help --json"),
    ),
    CommandRow(
        ("version",),
        "version:version",
        "Check and configure",
        "The version of this program, and of the node if one runs.",
        True,
        ("caxton version", "caxton version --json"),
    ),
)

GROUPS: Final = {
    "agent": "Agents: list, show, drain, start, check their files.",
    "capability": "Capabilities: list, show, choose providers.",
    "client": "Client identities: list, register, remove.",
    "conversation": "Conversations: list and read.",
    "dead-letter": "Dead letters: list, read, try again, discard.",
    "memory": "What agents remember: search, show, add, relate, export, import.",
    "mcp": "The Model Context Protocol: list servers and tools, serve.",
    "message": "Messages: send.",
    "audit": "The audit trail: read, verify.",
    "storage": "The data folder: verify, backup, restore, compact.",
    "breaker": "Circuit breakers: list, reset.",
    "tool": "Tools: make, build, look at, test, list, call.",
    "route": "The routing table.",
    "config": "Settings: show and check.",
}

PLURALS: Final = {
    "agents": "agent",
    "breakers": "breaker",
    "capabilities": "capability",
    "clients": "client",
    "conversations": "conversation",
    "dead-letters": "dead-letter",
    "messages": "message",
    "routes": "route",
    "tools": "tool",
}
"""Hidden names of groups."""
VERBS: Final = {"list": "ls", "get": "show", "delete": "rm"}
"""Hidden names of commands inside groups."""

_PATHS: Final = {path: row for row in COMMANDS for path in (row.path, *row.also)}


def find(path: tuple[str, ...]) -> CommandRow | None:
    """The command at this path, aliases included."""
    if path in _PATHS:
        return _PATHS[path]
    if len(path) == 2:
        return _PATHS.get((PLURALS.get(path[0], path[0]), VERBS.get(path[1], path[1])))
    return None


def nearest(word: str, group: str = "") -> str:
    """The command or group whose name is nearest to ``word``; empty when none is near."""
    import difflib

    if group:
        names = [path[1] for path in _PATHS if len(path) > 1 and path[0] == group]
        names += [alias for alias, verb in VERBS.items() if verb in names]
    else:
        names = sorted({path[0] for path in _PATHS} | set(PLURALS))
    near = difflib.get_close_matches(word, names, n=1)
    return near[0] if near else ""
