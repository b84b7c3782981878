"""Agent files: what they say, and everything that can be wrong with them."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caxton.agents.agent_file import AgentFileErrors, parse_agent_file
from caxton.agents.definition import AgentDefinition, Permissions, Spend, kebab
from caxton.errors import AgentFileInvalid

FULL = """---
name: DataAnalyst
version: 1.2.3-rc.1+b
description: Reads files.
capabilities: [data_analysis, Charts]
requires: [storage]
tools: [csv_parser]
user_prompt_template: "{{ request }} in {{ tone }}"
llm: {provider: openai, model: m, temperature: 0.5, max_tokens: 100, tool_mode: repair,
  fallback: [rules, openai/small]}
parameters: {tone: dry}
memory: {enabled: true, scope: workspace, auto_store: true, search_limit: 5, min_similarity: 1}
conversation: {max_turns: 3, context_tokens: 100}
limits: {concurrency: 2, queue: 10, response_timeout: 2m, tool_timeout: 500ms, memory: 1MiB,
  fuel: 1000, rate: 120/minute}
permissions:
  files: {examples/data: ro, out/: rw}
  hosts: [api.example.com, "*.example.org:443"]
  env: HOME, PATH
  kv: true
  databases: [sales]
  tools: {csv_parser: {files: ["only:rw"]}}
budget: {tokens: 1000, tool_calls: 5, hour: {llm_calls: 10}, day: {money: 2.5}}
---
Body {{ x }}
"""


def parse(text: str, path: str = "a.md") -> AgentDefinition:
    return parse_agent_file(text.encode(), path).definition


def warnings(text: str) -> list[str]:
    return [str(one) for one in parse_agent_file(text.encode(), "a.md").warnings]


def errors(text: str | bytes) -> list[AgentFileInvalid]:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(AgentFileErrors) as found:
        parse_agent_file(data, "a.md")
    return list(found.value.errors)


def test_every_field_is_read() -> None:
    """All keys of the table arrive in the definition, and travel as msgpack."""
    made = parse(FULL)
    assert (made.kind, made.slug, made.capabilities) == (
        "config", "data-analyst", ("data-analysis", "charts"),
    )  # fmt: skip
    assert (made.llm.temperature, made.llm.tool_mode, made.llm.fallback) == (
        0.5, "repair", ("rules", "openai/small"),
    )  # fmt: skip
    limits = made.limits
    assert (limits.response_timeout_ms, limits.tool_timeout_ms) == (120_000, 500)
    assert (limits.memory_bytes, limits.fuel, limits.rate) == (1 << 20, 1_000, 2.0)
    assert made.memory.scope == "workspace"
    assert made.conversation.max_turns == 3
    assert made.budget.conversation == Spend(tokens=1_000, tool_calls=5)
    assert made.budget.hour == Spend(llm_calls=10)
    assert made.permissions.for_tool("other") == {
        "files": {"examples/data": "ro", "out": "rw"},
        "hosts": ["api.example.com", "*.example.org:443"],
        "env": ["HOME", "PATH"],
        "databases": ["sales"],
        "kv": True,
    }
    assert made.permissions.for_tool("csv_parser") == {"files": {"only": "rw"}}
    assert made.system_prompt == "Body {{ x }}\n"
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=AgentDefinition)
    assert again == made


def test_the_smallest_file_gets_defaults() -> None:
    """A name and a body are enough; defaults are shared between definitions."""
    one, two = parse("---\nname: my_agent\n---\nHi"), parse("---\nname: Other\n---\nHi")
    assert (one.version, one.capabilities, one.tools) == ("0.1.0", ("my-agent",), ())
    assert one.permissions.for_tool("x") == {}
    for name in ("llm", "memory", "conversation", "limits", "permissions", "budget"):
        assert getattr(one, name) is getattr(two, name)


def test_kinds_are_told_by_their_keys() -> None:
    """`wasm` and `python` name code, whose path is relative to the file."""
    wasm = parse("---\nname: Ab\nwasm: ./lib/x.wasm\n---\nDoc")
    assert (wasm.kind, wasm.module_file, wasm.system_prompt) == ("wasm", "lib/x.wasm", "")
    python = parse("---\nname: Ab\npython: pkg.echo:Echo\n---\n")
    assert (python.kind, python.module_file) == ("python", "pkg/echo.py")
    assert parse("---\nname: Ab\n---\nx").module_file is None


@pytest.mark.parametrize(
    ("line", "field", "value_column", "text"),
    [
        ("version: 1.0", "version", 10, "try 1.0.0"),
        ("version: [1]", "version", 10, "semantic version"),
        ("description: [x]", "description", 14, "text of at most 5,000"),
        ("capabilities: []", "capabilities", 15, "1 to 20"),
        ("capabilities: [a b]", "capabilities[0]", 16, "names such as"),
        ("capabilities: {a: b}", "capabilities", 15, "a list of names"),
        (
            f"capabilities: [{','.join(f'c{n}' for n in range(21))}]",
            "capabilities",
            15,
            "at most 20",
        ),
        ("tools: [1]", "tools[0]", 9, "1 given"),
        ("llm: 3", "llm", 6, "a mapping"),
        ("llm: {temperature: 2.5}", "llm.temperature", 20, "0 to 2"),
        ("llm: {temperature: .nan}", "llm.temperature", 20, "0 to 2"),
        ("llm: {max_tokens: 0}", "llm.max_tokens", 19, "1 to 1,000,000"),
        ("llm: {tool_mode: nativ}", "llm.tool_mode", 18, "try native"),
        ("llm: {provider: [x]}", "llm.provider", 17, "name of a provider"),
        ("llm: {fallback: ['a b']}", "llm.fallback[0]", 18, "PROVIDER"),
        ("memory: {enabled: 1}", "memory.enabled", 19, "true or false"),
        ("limits: {response_timeout: 5}\nx: 1", "", 0, ""),
        ("limits: {response_timeout: 10ms}", "limits.response_timeout", 28, "1,000 ms"),
        ("limits: {response_timeout: soon}", "limits.response_timeout", 28, "such as 30s"),
        ("limits: {memory: 9GiB}", "limits.memory", 18, "512 MiB"),
        ("limits: {memory: 1}", "limits.memory", 18, "64 KiB"),
        ("limits: {rate: 0}", "limits.rate", 16, "100/minute"),
        ("limits: {rate: 5/fortnight}", "limits.rate", 16, "10/s"),
        ("limits: {queue: 10001}", "limits.queue", 17, "1 to 10,000"),
        ("limits: {concurrency: true}", "limits.concurrency", 23, "1 to 1,000"),
        ("permissions: {files: {/etc: ro}}", "permissions.files./etc", 29, "inside the workspace"),
        ("permissions: {files: {a/../../b: ro}}", "permissions.files.a/../../b", 34, "inside"),
        ("permissions: {files: {a: rx}}", "permissions.files.a", 26, "ro or rw"),
        ("permissions: {files: [3]}", "permissions.files[0]", 23, "a folder"),
        ("permissions: {files: a}", "permissions.files", 22, "folders with ro or rw"),
        ("permissions: {hosts: ['a b']}", "permissions.hosts[0]", 23, "host names"),
        ("permissions: {tools: x}", "permissions.tools", 22, "a mapping of tool"),
        ("budget: {tokens: -1}", "budget.tokens", 18, "0 to"),
        ("budget: {tokens: 1, conversation: {tokens: 1}}", "budget", 9, "not both"),
        ("parameters: [x]", "parameters", 13, "a mapping"),
        ("wasm: /x.wasm", "wasm", 7, ".wasm file in the folder"),
        ("wasm: ../x.wasm", "wasm", 7, ".wasm file in the folder"),
        ("python: echo", "python", 9, "module:Class"),
        ("python: a:B\nwasm: a.wasm", "python", 9, "not both"),
        ("model: [x]", "model", 8, "the name of a model"),
        ("maxTurns: 0", "maxTurns", 11, "1 to 1,000"),
        ("user_prompt_template: '{{ x * 3 }}'", "user_prompt_template", 23, "`*` is not available"),
    ],
)
def test_each_rule_names_field_and_place(
    line: str, field: str, value_column: int, text: str
) -> None:
    """A broken rule gives file, line, column, field, value and rule."""
    if not field:
        assert parse(f"---\nname: Ab\n{line}\n---\nx").limits.response_timeout_ms == 5_000
        return
    (error,) = errors(f"---\nname: Ab\n{line}\n---\nx")
    assert (error.fields["file"], error.fields["line"]) == ("a.md", 3)
    assert (error.fields["field"], error.fields["column"]) == (field, value_column)
    assert text in str(error)
    assert {"value", "rule", "suggestion"} <= error.fields.keys()


@pytest.mark.parametrize(
    ("line", "suggestion"),
    [
        ("name: Data Analyst", "Data-Analyst"),
        ("name: 3x", ""),
        ("name: x", ""),
        ("", "name: Greeter"),
    ],
)
def test_a_bad_name_comes_with_a_better_one(line: str, suggestion: str) -> None:
    """A name that is missing or wrong is one error."""
    (error,) = errors(f"---\ndescription: x\n{line}\n---\nx")
    assert error.fields["field"] == "name"
    assert error.fields["suggestion"] == suggestion


def test_all_errors_come_at_once_in_file_order() -> None:
    """One look finds everything; the error itself shows the first and counts the others."""
    text = "---\nversion: x\nllm: {temperature: 9}\nname: '?'\nlimits: {queue: 0}\n---\nx"
    with pytest.raises(AgentFileErrors) as found:
        parse_agent_file(text.encode(), "b.md")
    assert [one.fields["line"] for one in found.value.errors] == [2, 3, 4, 5]
    assert str(found.value).startswith("b.md:2:10 `version`")
    assert "(and 3 more)" in str(found.value)
    again = pickle.loads(pickle.dumps(found.value))
    assert [str(one) for one in again.errors] == [str(one) for one in found.value.errors]


def test_a_template_error_names_its_line_in_the_file() -> None:
    """Lines inside a block text are counted on."""
    (error,) = errors("---\nname: Ab\nuser_prompt_template: |\n  a\n  {{ b.c\n---\nx")
    assert error.fields["line"] == 5
    (error,) = errors("---\nname: Ab\nuser_prompt_template: |\n  {{ b *\n---\nx")
    assert error.fields["line"] == 4


def test_bytes_that_are_no_text_name_their_place() -> None:
    """Not UTF-8: the line and column of the byte. Too long: the limit."""
    (error,) = errors(b"---\nname: a\xff\n---\n")
    assert (error.fields["line"], error.fields["column"]) == (2, 8)
    (error,) = errors(b"x" * (1024 * 1024 + 1))
    assert "1 MiB" in str(error)


def test_bom_and_crlf_change_nothing() -> None:
    """A file from another editor reads the same."""
    made = parse("\ufeff---\r\nname: Bob\r\n---\r\nBody\r\nmore")
    assert (made.name, made.system_prompt) == ("Bob", "Body\nmore")


def test_claude_files_load_as_they_are() -> None:
    """Comma tools, model aliases and foreign keys are understood; no tools are told once."""
    text = (
        "---\nname: reviewer\ndescription: Use when: x\nmodel: opus\ncolor: red\nmaxTurns: 7\n"
        "memory: project\n---\nYou {{ are }}"
    )
    made = parse(text)
    assert made.metadata == {"model": "opus", "color": "red", "maxTurns": 7}
    assert (made.llm.model, made.conversation.max_turns, made.memory.scope) == (
        None,
        7,
        "workspace",
    )
    assert made.system_prompt == "You {{ are }}"
    told = warnings(text)
    assert len(told) == 3
    assert any("read line by line" in one for one in told)
    assert any("no `tools:`" in one for one in told)
    assert any("`opus`" in one for one in told)


@pytest.mark.parametrize(("model", "expected"), [("inherit", None), ("gpt-5", "gpt-5")])
def test_a_model_of_its_own_is_asked_for(model: str, expected: str | None) -> None:
    """`model` at the top is `llm.model`, except for words that mean the default."""
    text = f"---\nname: Ab\nmodel: {model}\ntools:\n---\nx"
    assert parse(text).llm.model == expected
    assert warnings(text) == []
    assert parse("---\nname: Ab\nmodel: a\nllm: {model: b}\n---\nx").llm.model == "b"


def test_unavailable_tools_are_named_with_their_reason() -> None:
    """The agent loads; each tool it will not get is one warning at its place."""
    text = (
        "---\nname: Ab\ntools: Read, Bash(git add:*, git commit:*), mcp__gh__issue, csv_parser, "
        "nope\n---\nx"
    )
    assert parse(text).tools == (
        "Read", "Bash(git add:*, git commit:*)", "gh__issue", "csv_parser", "nope",
    )  # fmt: skip
    told = warnings(text)
    assert len(told) == 4
    assert "shells are never run" in told[1]
    assert "no MCP server `gh`" in told[2]


def test_near_misses_warn_with_the_nearest_key() -> None:
    """An unknown key is no error: it is kept, and named with what was probably meant."""
    text = "---\nname: Ab\ntool: x\nzzz: 1\ntags: [a]\nllm: {modle: x}\nsystem-prompt: hi\n---\nx"
    told = warnings(text)
    assert "a.md:3:1 `tool`: unknown key `tool`, did you mean `tools`?" in told
    assert any("`zzz` is kept and has no effect" in one for one in told)
    assert any("`llm.modle`" in one and "`model`" in one for one in told)
    assert any("did you mean `system_prompt`" in one for one in told)
    assert len(told) == 4


def test_other_warnings() -> None:
    """Underscores, an empty prompt and a budget in money are told."""
    assert "is read as `a-b`" in warnings("---\nname: Ab\ncapabilities: [a_b]\n---\nx")[0]
    assert "no system prompt" in warnings("---\nname: Ab\n---\n \n")[0]
    assert "not enforced" in warnings("---\nname: Ab\nbudget: {money: 1}\n---\nx")[0]


def test_toml_front_matter_is_read_too() -> None:
    """The same fields, the same errors."""
    assert parse('+++\nname = "Ab"\n[llm]\ntemperature = 1\n+++\nx').llm.temperature == 1.0
    (error,) = errors('+++\nname = "Ab"\n[llm]\ntemperature = 3\n+++\nx')
    assert (error.fields["line"], error.fields["column"]) == (4, 15)


def test_names_are_compared_in_kebab_case() -> None:
    """Camel, snake and kebab case are one name."""
    assert {kebab(name) for name in ("DataAnalyst", "data_analyst", "data-analyst")} == {
        "data-analyst"
    }


PIECES = st.sampled_from(
    ["name: Ab", "name:", "tools: [a", "tools: a, b", "llm: {temperature: 9}", "llm:\n  model: x",
     "a: &a [*a]", "description: x: y", "version: 1.0", "- x", "permissions: {files: [a:rw]}",
     "user_prompt_template: '{{ x'", "user_prompt_template: '{{ x|upper }}'", "budget: {hour: 3}",
     "? a", "!!x", "\t", "limits: {memory: 1e9}", "capabilities: [_]", "model: 3", "memory: user",
     "python: a:B", "wasm: \0.wasm", "parameters: {a: [1, {b: 2}]}", "name: [x]", "%YAML 1.1"]
)  # fmt: skip


def outcome_of(data: bytes) -> AgentDefinition | list[str]:
    try:
        made = parse_agent_file(data, "x.md").definition
    except AgentFileErrors as error:
        found = error
    else:
        msgspec.msgpack.encode(made)
        return made
    assert found.errors
    assert all(int(str(one.fields["line"])) >= 1 for one in found.errors)
    return [str(one) for one in found.errors]


@given(
    st.one_of(
        st.binary(max_size=300), st.lists(st.one_of(PIECES, st.text(max_size=20)), max_size=8)
    )
)
def test_garbage_gives_a_file_or_its_errors(given_: bytes | list[str]) -> None:
    """Whatever the bytes: a definition, or typed errors with places, always the same."""
    data = (
        given_ if isinstance(given_, bytes) else ("---\n" + "\n".join(given_) + "\n---\nx").encode()
    )
    started = time.monotonic()
    assert outcome_of(data) == outcome_of(data)
    assert time.monotonic() - started < 10


def test_shipped_examples_are_valid(examples: Path) -> None:
    """Every example loads without a warning."""
    files = sorted((examples / "agents").glob("*.md"))
    assert len(files) >= 4
    for file in files:
        assert parse_agent_file(file.read_bytes(), file.name).warnings == ()


def test_definitions_import_nothing_heavy() -> None:
    """A process that only looks definitions up does not pay for parsers and engines."""
    code = (
        "import sys, caxton.agents.definition, caxton.agents.kinds\n"
        "heavy = {'wasmtime', 'jsonschema', 'httpx2', 'ruamel.yaml', 'minijinja'}\n"
        "heavy &= set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_permissions_of_one_tool_stand_alone() -> None:
    """A tool with permissions of its own gets none of the common ones."""
    both = Permissions(files={"a": "ro"}, tools={"x": Permissions(kv=True)})
    assert both.for_tool("x") == {"kv": True}


def test_a_capability_may_have_a_version_of_its_own() -> None:
    """The others are offered in the version of the agent; priority is 50 unless given."""
    text = "---\nname: Ab\nversion: 2.0.0\npriority: {}\ncapabilities: [bill_ing@1.3, read]\n---\nx"
    one = parse(text.format(80))
    assert one.capabilities == ("bill-ing", "read")
    assert [one.capability_version(name) for name in one.capabilities] == ["1.3", "2.0.0"]
    assert (one.priority, parse("---\nname: Ab\n---\nx").priority) == (80, 50)
    assert [error.fields["field"] for error in errors(text.format(101))] == ["priority"]
    assert [
        error.fields["field"] for error in errors("---\nname: Ab\ncapabilities: [a@x]\n---\nx")
    ] == ["capabilities[0]"]
