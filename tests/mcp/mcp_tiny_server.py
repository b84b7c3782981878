"""A stdio MCP server from the standard library alone, of the older protocol: starts at once and
does what a test tells it, good or bad."""

import json
import os
import subprocess
import sys

TOOLS = [
    {"name": "show.env", "description": "A variable", "inputSchema": {"type": "object"}},
    {"name": "spawn", "description": "Leave a process behind", "inputSchema": {"type": "object"}},
    {"name": "flood", "description": "A very long line", "inputSchema": {"type": "object"}},
    {"name": "die", "description": "End in the middle", "inputSchema": {"type": "object"}},
    {"name": "silence", "description": "No answer", "inputSchema": {"type": "object"}},
]


def call(name: str, arguments: dict) -> str:
    if name == "show.env":
        return os.environ.get(arguments["name"], "not set")
    if name == "spawn":
        return str(subprocess.Popen(["sleep", "600"]).pid)
    if name == "flood":
        return "x" * (9 * 1024 * 1024)
    if name == "die":
        os._exit(3)
    return f"{name}: {json.dumps(arguments)}"


print(f"started with {os.environ.get('SECRET', 'nothing')}", file=sys.stderr, flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        if asked["method"] == "notifications/cancelled" and os.environ.get("MARK"):
            with open(os.environ["MARK"], "w") as mark:
                mark.write("cancelled")
        continue
    answer: dict = {"jsonrpc": "2.0", "id": asked["id"]}
    if asked["method"] == "initialize":
        answer["result"] = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "tiny", "version": "1"},
        }
    elif asked["method"] == "tools/list":
        odd = [{"name": "odd", "inputSchema": {"type": "string"}}] if os.environ.get("ODD") else []
        answer["result"] = {"tools": TOOLS + odd}
    elif asked["method"] == "tools/call":
        name = asked["params"]["name"]
        if name == "silence":
            continue
        text = call(name, asked["params"].get("arguments") or {})
        answer["result"] = {"content": [{"type": "text", "text": text}]}
    else:
        answer["error"] = {"code": -32601, "message": "Method not found"}
    print(json.dumps(answer), flush=True)
