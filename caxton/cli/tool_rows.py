"""The commands of the group ``tool``, as rows of the command table."""

from __future__ import annotations

from typing import Final

from caxton.cli.command_row import CommandRow

__all__ = ["TOOL_COMMANDS"]

TOOL_COMMANDS: Final = (
    CommandRow(
        ("tool", "new"),
        "tool_make:new",
        "Make tools",
        "Make the folder of a small tool that works.",
        False,
        ("caxton tool new word_count --lang python", "caxton tool new shout --lang c --into ."),
    ),
    CommandRow(
        ("tool", "build"),
        "tool_make:build",
        "Make tools",
        "Build a tool or an agent to WebAssembly.",
        False,
        ("caxton tool build tools/word_count", "caxton tool build examples/tools/echo_wat --json"),
    ),
    CommandRow(
        ("tool", "inspect"),
        "tool:inspect",
        "Make tools",
        "What a module is, imports, offers, and needs granted.",
        True,
        (
            "caxton tool inspect tools/word_count",
            "caxton tool inspect tools/word_count/word_count.wasm --policy",
        ),
    ),
    CommandRow(
        ("tool", "test"),
        "tool_make:test",
        "Make tools",
        "Call a tool with its test cases and compare.",
        True,
        ("caxton tool test tools/word_count", "caxton tool test examples/tools/echo_wat --json"),
    ),
    CommandRow(
        ("tool", "call"),
        "tool:call",
        "Make tools",
        "Call a tool once, without a node.",
        True,
        (
            """caxton tool call word_count '{"text": "three small words"}'""",
            "caxton tool call csv_parser @arguments.json --allow-folder examples/data",
        ),
    ),
    CommandRow(
        ("tool", "ls"),
        "tool:ls",
        "Make tools",
        "The tools there are, and why some cannot be called.",
        True,
        ("caxton tool ls", "caxton tool ls --url http://127.0.0.1:8700"),
        (("tool", "list"),),
    ),
)
