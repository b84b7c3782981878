"""Write the reference pages from the tables they document; ``--check`` only compares."""

import sys
from pathlib import Path

from caxton.agents.lifecycle import LIFECYCLE, STATES
from caxton.api.metrics import documented
from caxton.cli.reference import render_reference as render_cli
from caxton.config import SETTINGS, Config
from caxton.config.profiles import PROFILES, Cores, Profile
from caxton.config.rules import RULES
from caxton.conversations.protocols.protocol import Role
from caxton.conversations.protocols.tables import PROTOCOLS
from caxton.errors import ERRORS
from caxton.observe.exporters import EXPORTERS
from caxton.observe.message_log import FIELDS as LINE
from caxton.observe.names import ATTRIBUTES, SPANS
from caxton.storage.audit import AUDIT_EVENTS
from caxton.tools.compiling.world import WORLD_FILE
from caxton.types import BOUNDS
from sandbox.abi import ABI_VERSION, FUNCTIONS
from sandbox.services.request import Refusal

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
NOTE = "<!-- Made by scripts/docs.py. Change the table in the code, not this page. -->\n\n"


def cell(text: object) -> str:
    """Text of a table cell."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def errors() -> str:
    """Every error code."""
    rows = [
        "# Errors\n",
        (
            "Each error has a stable code. Over HTTP it is a problem document (RFC 9457); on the "
            "command line `caxton error CODE` explains it.\n"
        ),
    ]
    for code, cls in sorted(ERRORS.items()):
        again = "yes" if cls.retryable else "no"
        rows.append(
            f"## {code}\n\n{cls.title}. HTTP {cls.status}, trying again can help: {again}.\n\n"
            f"> {cls.text}\n\n{cls.remedy}\n"
        )
    return "\n".join(rows)


PROTOCOL_RULES = """\
A message that names one of these in `protocol` (or by an alias, in any case, with `-` or `_`) has
its conversation checked. The protocol begins with one of its opening acts; from then on
everything that its initiator and its participants say to each other is part of it, until every
participant is in a final state (**bold**). Then another may begin in the same conversation.

A wrong act is not delivered. Its sender gets NOT_UNDERSTOOD with `PROTOCOL_VIOLATION`, the state
and the acts that fit; nothing else changes. Other names in `protocol`, and messages that name
none outside of a protocol, are carried and not checked.

In every protocol:

- FAILURE of a participant ends its run as **failed**; NOT_UNDERSTOOD of either side as
  **not-understood**.
- CANCEL of the initiator asks a participant to stop: it answers with INFORM, which ends its run
  as **cancelled**, or with FAILURE, and all is as it was. Until then the run is *cancelling*, and
  an answer to the request that crosses the CANCEL still counts.
- `in_reply_to`, when given, names the last act of the other side (its `reply_with`, or its
  `message_id`).
- `reply_by` of an initiator's act is a deadline: when nobody answered until then, the initiator
  gets a FAILURE from the node with `Timeout`, and what comes later is not understood. So does a
  conversation that is silent for `conversation.timeout_ms` in the middle of a run. A subscription
  may be silent for any time.
- A FAILURE of the node about the initiator's act (its agent is not there, its retries are used
  up) ends the run like one of the participant.
- To a capability, the first that answers is the participant.
- Acts to others are no part of it. To ask a third agent for help, open a conversation and name
  this one in `parent_conversation_id`; a WebAssembly agent's `new_conversation` does that.

A configuration agent answers CFP with PROPOSE, or REFUSE when its answer begins with that word.
Its answer to a PROPOSE is the act that its first word names: ACCEPT, REJECT or PROPOSE. Other acts
that ask for something it answers with INFORM.
`caxton conversation show` and `GET /api/v1/conversations/{id}` show each participant's state.
"""


def protocols() -> str:
    """Every protocol that is checked."""
    rows = ["# Protocols\n", PROTOCOL_RULES]
    for one in PROTOCOLS:
        also = ", ".join(f"`{name}`" for name in one.aliases)
        how = "up to `conversation.participants`, each by itself" if one.many else "one participant"
        rows += [
            f"## {one.name}\n",
            f"{one.source}. {one.about} Also called {also}; {how}.\n",
            f"| state | {one.initiator} says | {one.participant} says |",
            "|---|---|---|",
        ]
        for state in one.states:
            if state in one.over:
                continue
            says = [
                ", ".join(
                    f"`{act.value}` → " + (f"**{target}**" if target in one.over else target)
                    for (source, role, act), target in one.moves.items()
                    if source == state and role is by
                )
                for by in Role
            ]
            rows.append(f"| {state} | {says[0]} | {says[1]} |")
        rows.append("")
    return "\n".join(rows)


def settings() -> str:
    """Every setting."""
    rows = [
        "# Settings\n",
        (
            "A value comes from a flag, else an environment variable, else `caxton.toml`, else the "
            "default. `llm.model` is `model` in the section `[llm]` of the file.\n"
        ),
        "| setting | environment | allowed | default | meaning |",
        "|---|---|---|---|---|",
    ]
    defaults = Config(shards=0)
    for one in SETTINGS:
        value = getattr(defaults, one.field)
        shown = "cores, at most 4" if one.key == "shards" else f"`{value}`" if value != "" else ""
        variables = ", ".join(f"`{name}`" for name in (one.variable, *one.env))
        rows.append(f"| `{one.key}` | {variables} | {cell(one.allowed)} | {shown} | {one.help} |")
    rows += [
        "\n## Profiles\n",
        (
            "A profile stands for the defaults of some settings: `--profile production`, "
            "`CAXTON_PROFILE`, `profile` in the file, `Config.of_profile` in Python. What is given "
            "otherwise goes before it.\n"
        ),
        "| setting | " + " | ".join(PROFILES) + " |",
        "|---" * (len(PROFILES) + 1) + "|",
    ]
    for key in dict.fromkeys(key for profile in PROFILES.values() for key in profile):
        values = " | ".join(profile_value(profile, key) for profile in PROFILES.values())
        rows.append(f"| `{key}` | {values} |")
    rows += [
        "\n## What must fit\n",
        "A configuration whose values do not fit each other is refused.\n",
    ]
    rows += [
        f"- `{rule.key}`: {rule.allowed(defaults)} by default; {rule.reason}." for rule in RULES
    ]
    return "\n".join(rows) + "\n"


def profile_value(profile: Profile, key: str) -> str:
    """What a profile sets, as people read it."""
    value = profile.get(key, "")
    if isinstance(value, Cores):
        return str(value)
    return "default" if value == "" else f"`{value}`"


def limits() -> str:
    """Every bounded type."""
    rows = [
        "# Limits\n",
        "A value out of range is refused with the name of its field, the value and the range.\n",
        "| type | allowed | default |",
        "|---|---|---|",
    ]
    for name, bound in BOUNDS.items():
        default = "" if bound.default is None else f"{bound.default:,}"
        rows.append(f"| {name} | {cell(bound.allowed)} | {default} |")
    return "\n".join(rows) + "\n"


def metrics() -> str:
    """Every metric."""
    rows = [
        "# Metrics\n",
        (
            "`GET /metrics` has them in Prometheus text form. Labels are bounded: the first 200 "
            "agents by name have series of their own, the others are summed as `other`.\n"
        ),
        "| metric | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    rows += [
        f"| `{n}` | {kind} | {label} | {cell(text)} |" for n, kind, label, text in documented()
    ]
    return "\n".join(rows) + "\n"


def lifecycle() -> str:
    """The life of an agent."""
    rows = [
        "# The life of an agent\n",
        (
            "Each change of state is kept in the registry with its time, and told as an event "
            "(`agent.state`). A move that is not in the table is refused with `INVALID_STATE`.\n"
        ),
        "| state | meaning |",
        "|---|---|",
    ]
    rows += [f"| `{state.value}` | {text} |" for state, text in STATES.items()]
    rows += ["", "| from | to | when |", "|---|---|---|"]
    rows += [
        f"| `{move.current.value}` | `{move.wanted.value}` | {move.cause} |" for move in LIFECYCLE
    ]
    rows += [
        "",
        (
            "An agent that an operator stopped stays stopped over restarts of the node. One that "
            "failed is tried again, each time later."
        ),
    ]
    return "\n".join(rows) + "\n"


def audit() -> str:
    """Every event of the audit trail."""
    rows = [
        "# The audit trail\n",
        (
            "A node writes down what came, changed and went, in the transaction of the change. "
            "Each record has a number, the time, the event, what it is about, and the SHA-256 of "
            "the record before it with its own fields: a record that is changed, removed or put in "
            "between breaks the chain. `caxton audit show` lists, `caxton audit verify` checks; "
            "both read the data folder, whether its node runs or not.\n"
        ),
        (
            "Who can write the data folder can cut the end off, or write the whole chain anew. "
            "Keep the head that `verify` prints somewhere else, and give it back with `--head`.\n"
        ),
        "| event | when |",
        "|---|---|",
    ]
    rows += [f"| `{name}` | {text} |" for name, text in AUDIT_EVENTS.items()]
    return "\n".join(rows) + "\n"


def traces() -> str:
    """Spans, their attributes, and where they can go."""
    rows = [
        "# Traces\n",
        "[Tracing a node](../operate/trace.md) shows how to use them.\n",
        "## Spans\n",
        "| span | what it covers |\n| --- | --- |",
        *(f"| `{name}` | {cell(about)} |" for name, about in SPANS.items()),
        "\nThe name of a span goes on with what it is about: `send Echo`, `handle Echo`.\n",
        "## Attributes\n",
        (
            "OpenTelemetry's names for messaging and HTTP where it has one. Content is never in a "
            "span.\n"
        ),
        "| attribute | value |\n| --- | --- |",
        *(f"| `{name}` | {cell(about)} |" for name, about in ATTRIBUTES.items()),
        (
            "\nA resource is a process: `service.name` is `caxton` unless `OTEL_SERVICE_NAME` says "
            "otherwise, `caxton.process` its name, `service.instance.id` node and process.\n"
        ),
        "## Exporters\n",
        "| `trace.exporter` | what it speaks | goes to, by default |\n| --- | --- | --- |",
        *(
            f"| `{name}` | {cell(one.about)} | {f'`{one.endpoint}`' if one.endpoint else ''} |"
            for name, one in EXPORTERS.items()
        ),
    ]
    return "\n".join(rows)


def logs() -> str:
    """The log, and the fields of lines about messages."""
    rows = [
        "# Logs\n",
        (
            "Every process of a node appends to `logs/caxton.log` in the data folder: one JSON "
            "object a line, each with `timestamp`, `level`, `message`, `logger` and `process`, and "
            "`exception` where there was one. `log.level` is the least important level.\n"
        ),
        (
            "The file may be rotated by any tool, by moving it away. Neither the content of "
            "messages nor a secret is ever in it.\n"
        ),
        "## Lines about messages\n",
        (
            "A message can have a line when it comes to its end; `log.messages` says which ones "
            "do. They are written in batches by a thread of their own. When the disk does not keep "
            "up with them, lines are left out, and one says how many.\n"
        ),
        "| field | what it says |\n| --- | --- |",
        *(f"| `{name}` | {cell(about)} |" for name, about in LINE.items()),
    ]
    return "\n".join(rows)


GUESTS = (
    ("C", "c", "counter_c/counter_c.c", "`pip install ziglang`, or clang with lld"),
    ("Rust", "rust", "counter_rust/counter_rust.rs", "`rustup target add wasm32-unknown-unknown`"),
    ("AssemblyScript", "ts", "counter_as/counter_as.ts", "`npm install --no-save assemblyscript`"),
    ("Go", "go", "counter_go/main.go", "Go 1.24 or later; it imports WASI and has 2.4 MB"),
)
"""Agents that do the same."""


def wasm_abi() -> str:
    """What guests export and import, and agents in several languages."""
    imports = ["| import | type | level | what it does |", "|---|---|---|---|"]
    for one in FUNCTIONS:
        name = f"`{one.module}.{one.name}`"
        only = ", for agents only" if one.agents_only else ""
        imports.append(f"| {name} | `{one.type}` | {one.level.value} | {one.purpose}{only} |")
    guests = []
    for title, fence, file, needs in GUESTS:
        source = (ROOT / "examples" / "wasm-agents" / file).read_text().rstrip()
        guests.append(f"### {title}\n\n{needs}.\n\n```{fence}\n{source}\n```")
    values = {
        "{{version}}": str(ABI_VERSION),
        "{{imports}}": "\n".join(imports),
        "{{codes}}": ", ".join(f"`{code.value}`" for code in Refusal),
        "{{guests}}": "\n\n".join(guests),
        "{{world}}": WORLD_FILE.read_text().rstrip(),
    }
    text = (Path(__file__).parent / "wasm-abi.md.in").read_text()
    for mark, value in values.items():
        text = text.replace(mark, value)
    return text


PAGES = {
    "wasm-abi.md": wasm_abi,
    "logs.md": logs,
    "traces.md": traces,
    "audit.md": audit,
    "agent-lifecycle.md": lifecycle,
    "errors.md": errors,
    "protocols.md": protocols,
    "settings.md": settings,
    "limits.md": limits,
    "metrics.md": metrics,
    "cli.md": render_cli,
}


def main() -> int:
    """Write or compare; the exit code says whether all pages were current."""
    stale = []
    for name, render in PAGES.items():
        text = NOTE + render().rstrip() + "\n"
        path = FOLDER / name
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    if "--check" in sys.argv and stale:
        print(f"not current: {', '.join(stale)}; run .venv/bin/python scripts/docs.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
