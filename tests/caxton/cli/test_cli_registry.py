"""The commands of the registry: what they ask, what they print."""

from __future__ import annotations

import pytest
from fake_node import an_agent

from caxton.errors import InvalidState
from caxton.registry_views import CapabilityView, ClientView, ProviderView, RouteView

PROVIDERS = (
    ProviderView("Greeter", "id-1", "1.2.0", 80, "running", 3, 1_000, True),
    ProviderView("Second", "id-2", "1.0.0", 50, "stopped", 0, 1_000, False),
)
GREETING = CapabilityView("greeting", "sticky", True, PROVIDERS)
WEB = ClientView("id-3", "web", {"team": "shop"}, "2026-01-02T03:04:05.678Z", "2026-01-03T00:00Z")
ROUTE = RouteView("Greeter", "id-1", "node-1", 1, 0, "2026-01-02T03:04:05.678Z")


@pytest.mark.parametrize("action", ["drain", "stop", "start"])
def test_agents_are_ordered_by_name(run, fake, action: str) -> None:
    """One request for each; the agents are printed on their way."""
    path = f"/api/v1/agents/Greeter/{action}"
    fake.others["POST", path] = an_agent("Greeter", state="draining")
    done = run("agent", action, "Greeter", "Greeter", "--url", fake.url)
    assert done.code == 0
    assert done.out.count("draining") == 2
    assert fake.changed == [("POST", path)] * 2


def test_a_move_that_is_refused_is_6(run, fake) -> None:
    """The states are named."""
    fake.refusal = InvalidState(agent="Greeter", current="stopped", wanted="draining")
    done = run("agent", "drain", "Greeter", "--url", fake.url)
    assert done.code == 6
    assert "from stopped to draining" in done.err


def test_capabilities_show_who_is_able(run, fake) -> None:
    """The list counts, the detail names; JSON has it all."""
    fake.others["GET", "/api/v1/capabilities"] = {"items": [GREETING], "next_page_token": ""}
    fake.others["GET", "/api/v1/capabilities/greeting"] = GREETING
    listed = run("capability", "ls", "--url", fake.url)
    assert "1/2" in listed.out
    assert "sticky" in listed.out
    shown = run("capability", "show", "greeting", "--url", fake.url)
    assert [line.split()[0] for line in shown.out.splitlines()] == ["AGENT", "Greeter", "Second"]
    assert "the default" in shown.err
    assert run("capabilities", "get", "greeting", "--url", fake.url, "--json").json["providers"][0][
        "priority"
    ] == 80  # fmt: skip
    assert run("capability", "show", "no such", "--url", fake.url).code == 4


def test_a_strategy_is_set_and_taken_back(run, fake) -> None:
    """What there is to choose from is in the help; `default` is the node's setting."""
    fake.others["PUT", "/api/v1/capabilities/greeting"] = GREETING
    arguments = ("capability", "set", "greeting", "--url", fake.url, "--strategy")
    assert run(*arguments, "round_robin").code == 0
    assert run(*arguments, "default").code == 0
    assert run(*arguments, "best").code == 2
    assert len(fake.changed) == 2


def test_routes_and_clients_are_listed(run, fake) -> None:
    """Tables for people, names for scripts."""
    fake.others["GET", "/api/v1/routes"] = {"items": [ROUTE], "next_page_token": ""}
    fake.others["GET", "/api/v1/clients"] = {"items": [WEB], "next_page_token": ""}
    assert "node-1" in run("route", "ls", "--url", fake.url).out
    assert run("route", "ls", "--url", fake.url, "-o", "name").out == "Greeter\n"
    assert "team=shop" in run("client", "ls", "--url", fake.url).out


BREAKER = {
    "agent": "Greeter", "agent_id": "id-1", "shard": 1, "state": "open", "failures": 10, "slow": 2,
    "since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:01:00Z", "reason": "it broke",
}  # fmt: skip


def test_breakers_are_listed_and_reset(run, fake) -> None:
    """Which agents get nothing, until when and why; a reset says what it found."""
    url = ("--url", fake.url)
    fake.others["GET", "/api/v1/breakers"] = {"items": [BREAKER], "next_page_token": ""}
    listed = run("breaker", "ls", *url).out
    assert "open" in listed
    assert "it broke" in listed
    assert run("breakers", "ls", "-o", "name", *url).out == "Greeter\n"
    fake.others["POST", "/api/v1/breakers/Greeter/reset"] = {"items": [BREAKER]}
    assert run("breaker", "reset", "Greeter", *url).out == "Greeter: reset, was open at shard 1\n"
    assert run("breaker", "reset", "Greeter", "--json", *url).json[0]["failures"] == 10
    assert run("breaker", "reset", "Greeter", "-o", "name", *url).out == "Greeter\n"
    fake.others["POST", "/api/v1/breakers/Greeter/reset"] = {"items": []}
    assert "has no breaker" in run("breaker", "reset", "Greeter", *url).out
    assert run("breaker", "reset", "no such agent", *url).code == 4


def test_clients_are_registered_shown_and_removed(run, fake) -> None:
    """Metadata is KEY=TEXT; the id is what a sender needs."""
    fake.others["POST", "/api/v1/clients"] = WEB
    fake.others["GET", "/api/v1/clients/web"] = WEB
    fake.others["DELETE", "/api/v1/clients/web"] = WEB
    url = ("--url", fake.url)
    assert "id-3" in run("client", "register", "web", "--metadata", "team=shop", *url).out
    assert run("client", "register", "web", "--metadata", "team", *url).code == 2
    assert run("client", "show", "web", "--json", *url).json["id"] == "id-3"
    assert run("client", "rm", "web", *url).code == 0
    assert [method for method, _ in fake.changed] == ["POST", "GET", "DELETE"]
    assert run("client", "rm", "no such", *url).code == 4
