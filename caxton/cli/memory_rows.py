"""The commands of the group ``memory``, as rows of the command table."""

from __future__ import annotations

from typing import Final

from caxton.cli.command_row import CommandRow

__all__ = ["MEMORY_COMMANDS"]

SECTION: Final = "Remember"

MEMORY_COMMANDS: Final = (
    CommandRow(
        ("memory", "search"),
        "memory:search",
        SECTION,
        "Find what a question or a few words mean.",
        True,
        ('caxton memory search "who wrote the first program?"',
         "caxton memory search engines --type machine --scope workspace --json"),
    ),
    CommandRow(
        ("memory", "show"),
        "memory:show",
        SECTION,
        "One entity with its observations and relations.",
        True,
        ('caxton memory show "Ada Lovelace"', 'caxton memory show "Ada Lovelace" --json'),
    ),
    CommandRow(
        ("memory", "ls"),
        "memory:ls",
        SECTION,
        "Entities, by scope.",
        True,
        ("caxton memory ls", "caxton memory ls --type person --limit 20 -o name"),
    ),
    CommandRow(
        ("memory", "add"),
        "memory_write:add",
        SECTION,
        "Remember an entity, or more of a known one.",
        False,
        ('caxton memory add "Ada Lovelace" person "wrote the first program" --scope workspace',
         'caxton memory add "Analytical Engine" machine "was never built" --metadata year=1837'),
    ),
    CommandRow(
        ("memory", "relate"),
        "memory_write:relate",
        SECTION,
        "Remember that one entity has to do with another.",
        False,
        ('caxton memory relate "Ada Lovelace" "wrote programs for" "Analytical Engine"',
         'caxton memory relate Ada "worked with" Charles --strength 0.9 --both-ways'),
    ),
    CommandRow(
        ("memory", "merge"),
        "memory_write:merge",
        SECTION,
        "Make one entity of two that are the same.",
        False,
        ('caxton memory merge "Ada Lovelace" "A. Lovelace"',),
    ),
    CommandRow(
        ("memory", "rm"),
        "memory_write:rm",
        SECTION,
        "Forget entities, or one observation or relation.",
        False,
        ('caxton memory rm "Ada Lovelace"',
         'caxton memory rm "Ada Lovelace" --observation "wrote the first program"',
         'caxton memory rm Ada --relation "worked with" --to Charles'),
        (("memory", "forget"),),
    ),
    CommandRow(
        ("memory", "clear"),
        "memory_write:clear",
        SECTION,
        "Forget everything of a scope, or all entities of some types.",
        False,
        ("caxton memory clear --scope agent:Greeter --yes",
         "caxton memory clear --scope workspace --type note --yes"),
    ),
    CommandRow(
        ("memory", "graph"),
        "memory_graph:graph",
        SECTION,
        "What is around an entity, as a tree.",
        True,
        ('caxton memory graph "Ada Lovelace"',
         'caxton memory graph "Ada Lovelace" --depth 2 --relation "worked with" --json'),
    ),
    CommandRow(
        ("memory", "path"),
        "memory_graph:path",
        SECTION,
        "A shortest way from one entity to another.",
        True,
        ('caxton memory path "Ada Lovelace" "Charles Babbage"',),
    ),
    CommandRow(
        ("memory", "stats"),
        "memory:stats",
        SECTION,
        "How much is remembered, where, and with which model.",
        True,
        ("caxton memory stats", "caxton memory stats --json"),
    ),
    CommandRow(
        ("memory", "export"),
        "memory_files:export",
        SECTION,
        "Write what is remembered to a file.",
        True,
        ("caxton memory export --output memory.jsonl",
         "caxton memory export --format json --vectors --scope workspace --output memory.json"),
    ),
    CommandRow(
        ("memory", "import"),
        "memory_files:import_",
        SECTION,
        "Take up an export, or the file of an MCP memory server.",
        False,
        ("caxton memory import memory.jsonl",
         "caxton memory import ~/memory.jsonl --scope workspace --strategy skip_existing"),
    ),
    CommandRow(
        ("memory", "optimize"),
        "memory_upkeep:optimize",
        SECTION,
        "Give room back and make searches fast again.",
        False,
        ("caxton memory optimize", "caxton memory optimize --embed"),
    ),
    CommandRow(
        ("memory", "verify"),
        "memory_upkeep:verify",
        SECTION,
        "Look at everything that is kept.",
        True,
        ("caxton memory verify", "caxton memory verify --json"),
    ),
    CommandRow(
        ("memory", "migrate"),
        "memory_migrate:migrate",
        SECTION,
        "Move what is remembered to another backend.",
        False,
        ("caxton memory migrate --to qdrant --url http://localhost:6333",
         "caxton memory migrate --to neo4j --url bolt://localhost:7687 --database memory",
         "caxton memory migrate --to embedded"),
    ),
)  # fmt: skip
