"""The files under deploy/ start what there is, with the numbers the program has."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path

import click

from caxton import Config
from caxton.api.metrics import documented
from caxton.cli.commands.serve import serve
from caxton.serve import EXIT_ADDRESS, EXIT_CONFIG, EXIT_GAVE_UP, EXIT_STORAGE

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def unit() -> configparser.ConfigParser:
    found = configparser.ConfigParser(strict=True, delimiters=("=",), interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]  # names have capitals
    found.read_string((DEPLOY / "systemd" / "caxton.service").read_text())
    return found


def accepts(words: list[str]) -> None:
    """The command line is one of ``caxton serve``."""
    with click.Context(serve, info_name="serve") as context:
        serve.parse_args(context, list(words))


def test_the_unit_starts_a_node() -> None:
    """Its command line is right, and it writes below its state directory only."""
    service = unit()["Service"]
    program, command, *words = shlex.split(service["ExecStart"])
    assert program.endswith("/.venv/bin/caxton")
    assert command == "serve"
    accepts(words)
    assert words[words.index("--data") + 1].startswith(f"/var/lib/{service['StateDirectory']}/")


def test_the_unit_stops_and_restarts_as_the_node_wants() -> None:
    """Longer than a drain; not after what trying again does not cure, and after what it may."""
    service = unit()["Service"]
    assert int(service["TimeoutStopSec"]) * 1_000 > 2 * Config().shutdown_timeout_ms
    never = {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert never == {EXIT_STORAGE, EXIT_CONFIG, EXIT_ADDRESS}
    assert EXIT_GAVE_UP not in never
    assert "MemoryDenyWriteExecute" not in service


def test_the_image_is_made_of_what_there_is() -> None:
    """What it copies exists, and it starts a node that answers its health check."""
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ")]
    for source in [name for names in copied for name in names if not name.startswith("--")]:
        assert source == "/opt/caxton" or (DEPLOY.parent / source).exists(), source
    entry = re.search(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    assert entry is not None
    program, command, *words = json.loads(entry[1])
    assert (program, command) == ("caxton", "serve")
    accepts(words)
    port = re.search(r"CAXTON_PORT=(\d+)", text)
    assert port is not None
    assert f"EXPOSE {port[1]}" in text
    assert f"http://127.0.0.1:{port[1]}/ready" in text


def scraped() -> set[str]:
    """Every name that a scrape can have."""
    found = set()
    for name, kind, _, _ in documented():
        ends = ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)
        found |= {name + end for end in ends}
    return found


def used(expression: str) -> set[str]:
    return set(re.findall(r"caxton_[a-z0-9_]+", expression))


def test_the_dashboard_shows_what_is_measured() -> None:
    """Each panel has an id and a place of its own, and asks for metrics that there are."""
    board = json.loads((DEPLOY / "grafana" / "caxton.json").read_text())
    panels = board["panels"]
    assert len({one["id"] for one in panels}) == len(panels) >= 12
    assert len({(one["gridPos"]["x"], one["gridPos"]["y"]) for one in panels}) == len(panels)
    for one in panels:
        for target in one["targets"]:
            assert used(target["expr"]), one["title"]
            assert used(target["expr"]) <= scraped(), one["title"]


def test_the_alerts_watch_what_is_measured() -> None:
    """Each says what is wrong and what to do, by commands that there are."""
    from ruamel.yaml import YAML

    rules = YAML(typ="safe", pure=True).load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    (group,) = rules["groups"]
    for rule in group["rules"]:
        assert used(rule["expr"]) <= scraped(), rule["alert"]
        assert used(rule["expr"]), rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "action"} <= rule["annotations"].keys()
