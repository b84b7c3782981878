from __future__ import annotations

import importlib.metadata
import json
import socket
from pathlib import Path

import pytest
from fake_node import BROKEN, FakeNode, a_node, an_agent

from caxton.cli.commands.doctor import GROUPS
from caxton.cli.doctor import install, machine, services
from caxton.cli.doctor.install import fits, load_failure, requirements
from caxton.errors import NotAuthorized, ToolFailed
from caxton.tools.catalog import ToolCatalog, ToolSpec
from caxton.views import MemoryView, ProcessView


def checks(done, group: str) -> dict[str, dict[str, str]]:
    found = next(one for one in done.json["groups"] if one["group"] == group)
    return {check["name"]: check for check in found["checks"]}


@pytest.fixture
def agents_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "agents"
    folder.mkdir()
    (folder / "good.md").write_text("---\nname: Good\n---\nBe good.\n")
    return folder


def test_all_groups_run_without_a_node(run, agents_folder) -> None:
    """Without a node each group has something to say, and nothing is left behind."""
    done = run("doctor", "--json")
    assert [one["group"] for one in done.json["groups"]] == list(GROUPS)
    assert checks(done, "node")["node"]["level"] == "ok"
    assert checks(done, "tools")["csv_parser"]["level"] == "ok"
    assert "no language model" in checks(done, "llm")["provider"]["value"]
    assert checks(done, "agents")["agent files"]["value"].startswith("1 of 1 valid")
    assert sorted(entry.name for entry in agents_folder.parent.iterdir()) == ["agents"]


def test_doctor_draws_lines_with_what_to_do(run) -> None:
    """Each line is ok, warn or fail, a name, a value, and what to do; warnings are 10."""
    done = run("doctor", "agents", "llm")
    assert done.code == 10
    assert "warn  agents folder" in done.out
    assert "-> " in done.out
    assert "works, with warnings" in done.err
    assert run("doctor", "teeth").code == 2


def test_a_healthy_group_is_0(run, agents_folder) -> None:
    """Nothing to complain about ends with 0."""
    done = run("doctor", "config", "agents", "data", "-q")
    assert done.code == 0
    assert done.err == ""


def test_a_wrong_configuration_is_20(run, monkeypatch) -> None:
    """The configuration's group says what is wrong; the groups that need it are silent."""
    monkeypatch.setenv("CAXTON_SHARDS", "many")
    done = run("doctor", "config", "agents", "llm", "ports", "--json")
    assert done.code == 20
    assert "shards" in checks(done, "config")["settings"]["value"]
    assert checks(done, "llm") == {}
    assert "llm" not in run("doctor", "config", "llm").out.split()


def test_an_open_address_is_a_warning(run, monkeypatch) -> None:
    """Listening for other machines without a key is pointed out."""
    monkeypatch.setenv("CAXTON_HOST", "0.0.0.0")
    assert checks(run("doctor", "config", "--json"), "config")["host"]["level"] == "warn"


def test_the_data_folder_is_looked_at(run, tmp_path, monkeypatch) -> None:
    """Its kind, owner, mode, contents and size."""

    def check(path: Path) -> dict[str, dict[str, str]]:
        return checks(run("doctor", "data", "--json", "--data", str(path)), "data")

    folder = tmp_path / "mine"
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "some").write_bytes(b"x" * 5_000)
    folder.chmod(0o700)
    assert check(folder)["mode"]["level"] == "ok"
    assert check(folder)["size"]["level"] == "ok"
    folder.chmod(0o755)
    assert check(folder)["mode"]["level"] == "warn"
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    assert "letter.txt" in check(other)["contents"]["value"]
    assert check(other / "letter.txt")["data folder"]["level"] == "fail"
    monkeypatch.setattr("os.access", lambda *_: False)
    assert check(tmp_path / "new")["data folder"]["level"] == "fail"
    monkeypatch.setattr("os.getuid", lambda: 54_321)
    assert check(folder)["owner"]["level"] == "fail"


def test_a_file_that_goes_while_it_is_counted_is_no_error(tmp_path, monkeypatch, run) -> None:
    """A running node removes files at any time."""
    folder = tmp_path / "mine"
    (folder / "run").mkdir(parents=True)
    (folder / "run" / "some").write_text("x")

    def gone(_: str) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("caxton.cli.doctor.folders.os.lstat", gone)
    assert run("doctor", "data", "--data", str(folder), "--json").code in (0, 10)


def test_agent_files_with_errors_are_failures(run, agents_folder) -> None:
    """Errors are failures with their place, warnings are warnings, and too many are counted."""
    (agents_folder / "bad.md").write_text("---\nname: 7\n---\nHi\n")
    found = checks(run("doctor", "agents", "--json"), "agents")
    assert any(name.endswith("bad.md:2:7") for name in found)
    for number in range(30):
        (agents_folder / f"odd{number}.md").write_text(f"---\nname: Odd{number}\n---\n")
    done = run("doctor", "agents", "--json")
    assert done.code == 20
    assert "more" in checks(done, "agents")


def test_an_empty_agents_folder_is_a_warning(run, tmp_path) -> None:
    """A node without agents can do nothing."""
    (tmp_path / "agents").mkdir()
    assert checks(run("doctor", "agents", "--json"), "agents")["agent files"]["level"] == "warn"


def test_the_agents_of_the_running_node_are_looked_at(run, tmp_path, agents_folder) -> None:
    """When a node has announced its agents folder, that one is checked."""
    run_folder = tmp_path / "d" / "run"
    run_folder.mkdir(parents=True)
    announced = {"pid": 1, "url": "http://127.0.0.1:1", "agents": str(agents_folder)}
    (run_folder / "node.json").write_text(json.dumps(announced))
    agents_folder.rename(tmp_path / "elsewhere")
    found = checks(run("doctor", "agents", "--json", "--data", str(tmp_path / "d")), "agents")
    assert str(agents_folder) in found["agents folder"]["value"]


# --- machine, installation -------------------------------------------------------------------


def test_little_memory_and_disk_are_said(run, monkeypatch) -> None:
    """Too little memory or disk is a warning, almost none is a failure."""
    monkeypatch.setattr(machine, "LEAST_MEMORY", 1 << 62)
    monkeypatch.setattr(machine, "LEAST_DISK", 1 << 60)
    found = checks(run("doctor", "machine", "--json"), "machine")
    assert found["memory"]["level"] == "warn"
    assert found["disk"]["level"] == "fail"
    monkeypatch.setattr(
        machine.shutil,
        "disk_usage",
        lambda _: machine.shutil._ntuple_diskusage(10 << 30, 0, 1 << 30),
    )
    monkeypatch.setattr(machine, "LEAST_DISK", 2 << 30)
    assert checks(run("doctor", "machine", "--json"), "machine")["disk"]["level"] == "warn"


def test_a_slow_or_closed_disk_is_said(run, monkeypatch) -> None:
    """A slow flush is a warning and a folder that cannot be written a failure."""
    monkeypatch.setattr(machine, "fsync_ms", lambda _: 50.0)
    assert checks(run("doctor", "machine", "--json"), "machine")["fsync"]["level"] == "warn"

    def closed(_: Path) -> float:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine, "fsync_ms", closed)
    assert checks(run("doctor", "machine", "--json"), "machine")["fsync"]["level"] == "fail"


def test_low_limits_are_said(run, monkeypatch) -> None:
    """Few open files and a limited address space are warnings."""
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (256, 512))
    found = checks(run("doctor", "limits", "--json"), "limits")
    assert found["open files"]["level"] == "warn"
    assert found["address space"]["level"] == "warn"
    unlimited = machine.resource.RLIM_INFINITY
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _: (unlimited, unlimited))
    assert run("doctor", "limits").code == 0


@pytest.mark.parametrize(
    ("version", "wanted", "fit"),
    [
        ("8.2.1", ">=8.2,<9", True),
        ("9.0", ">=8.2,<9", False),
        ("8.1.9", ">=8.2,<9", False),
        ("0.19.1", "<0.20,>=0.18", True),
        ("1.0", "", True),
        ("3", ">=3,<4", True),
        ("4.0.0rc1", ">=3,<4", False),
    ],
)
def test_versions_are_compared_by_number(version: str, wanted: str, fit: bool) -> None:
    """A version is inside its range or not."""
    assert fits(version, wanted) is fit


def test_requirements_leave_extras_out(monkeypatch) -> None:
    """Only what the base installation needs is required."""
    lines = ["click<9,>=8.2", 'faiss-cpu>=1.9; extra == "memory"', "rich (>=14,<16)", "!"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: lines)
    assert dict(requirements()) == {"click": "<9,>=8.2", "rich": ">=14,<16"}


def test_wrong_packages_are_said(run, monkeypatch) -> None:
    """Missing packages fail, versions outside their range warn, wheels that do not load fail."""
    wanted = {"click": ">=99", "no-such-package": ">=1"}
    monkeypatch.setattr(install, "requirements", lambda: wanted)
    monkeypatch.setattr(install, "load_failure", lambda m: "broken" if m == "lmdb" else "")
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda _: object())
    found = checks(run("doctor", "install", "--json"), "install")
    assert found["click"]["level"] == "warn"
    assert found["no-such-package"]["level"] == "fail"
    assert found["lmdb"]["level"] == "fail"
    assert found["faiss"]["value"] == "installed"
    assert load_failure("no_such_module_at_all").startswith("does not load")


def test_an_uninstalled_caxton_is_a_warning(run, monkeypatch) -> None:
    """Running from a folder without installing is pointed out."""

    def missing() -> None:
        raise importlib.metadata.PackageNotFoundError("caxton")

    monkeypatch.setattr(install, "requirements", missing)
    assert checks(run("doctor", "install", "--json"), "install")["packages"]["level"] == "warn"


# --- model, tools, node, port ----------------------------------------------------------------


@pytest.fixture
def server(fake, monkeypatch) -> FakeNode:
    """The fake node as a model server that lists two models."""
    monkeypatch.setenv("OPENAI_BASE_URL", fake.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    answers = {"status": 200, "body": {"data": [{"id": "small"}, {"id": "large"}]}}
    fake.answers = answers
    fake.answer = lambda *_: (answers["status"], answers["body"])
    return fake


def test_a_model_server_that_answers_is_ok(run, server, monkeypatch) -> None:
    """Reachable is ok; a model that is not there is a warning; the key is never shown."""
    monkeypatch.setenv("OPENAI_MODEL", "small")
    done = run("doctor", "llm", "--json")
    assert done.code == 0
    assert "sk-secret" not in done.out
    monkeypatch.setenv("OPENAI_MODEL", "huge")
    assert checks(run("doctor", "llm", "--json"), "llm")["model"]["level"] == "warn"
    server.answers["body"] = ["of another form"]
    assert run("doctor", "llm").code == 0


@pytest.mark.parametrize(("status", "level"), [(401, "fail"), (503, "warn"), (404, "ok")])
def test_a_model_server_that_refuses(status: int, level: str, run, server) -> None:
    """A refused key fails, a broken server warns, a server without a list is reachable."""
    server.answers["status"] = status
    found = checks(run("doctor", "llm", "--json"), "llm")
    assert list(found.values())[-1]["level"] == level


def test_a_model_server_that_is_not_there_fails(run, monkeypatch) -> None:
    """Nobody at the base URL, or no URL at all, is a failure with the reason."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1")
    assert checks(run("doctor", "llm", "--json"), "llm")["base URL"]["level"] == "fail"
    monkeypatch.setenv("OPENAI_BASE_URL", "nonsense")
    assert checks(run("doctor", "llm", "--json"), "llm")["base URL"]["level"] == "fail"


def test_other_providers_are_named(run, monkeypatch) -> None:
    """A provider without a server of its own is only named."""
    monkeypatch.setenv("CAXTON_LLM_PROVIDER", "scripted")
    assert "scripted" in checks(run("doctor", "llm", "--json"), "llm")["provider"]["value"]


def test_a_body_that_is_no_json_lists_no_models() -> None:
    """A server that answers with a page is reachable and lists nothing."""

    class Page:
        def json(self) -> None:
            raise ValueError

    assert services._models(Page()) == []


def test_damaged_tools_are_failures(run, tmp_path, monkeypatch) -> None:
    """A module that is not the built one, or does not compile, fails; so does a damaged catalog."""
    module = tmp_path / "x.wasm"
    module.write_bytes(b"not wasm")
    digest = "0c26e07d9b9db0ba9f4ee4bd1b7b4f5b4a2d6c93a8b0a3ba0c5d0b0c9ae6a2bd"
    spec = ToolSpec("x", "", {}, module, digest)
    monkeypatch.setattr(ToolCatalog, "builtin", staticmethod(lambda: ToolCatalog([spec])))
    changed = checks(run("doctor", "tools", "--json"), "tools")
    assert "not the one" in changed["x"]["value"]
    monkeypatch.setattr(
        services.hashlib, "sha256", lambda _: type("H", (), {"hexdigest": lambda _: digest})()
    )
    assert "does not compile" in checks(run("doctor", "tools", "--json"), "tools")["x"]["value"]

    def damaged() -> None:
        raise ToolFailed(tool="x", reason="not readable", detail="gone")

    monkeypatch.setattr(ToolCatalog, "builtin", staticmethod(damaged))
    assert checks(run("doctor", "tools", "--json"), "tools")["catalog"]["level"] == "fail"


def test_a_compile_without_end_is_said(monkeypatch) -> None:
    """Compiling has a deadline."""
    monkeypatch.setattr(services, "COMPILE_DEADLINE_S", 0.0)
    data = ToolCatalog.builtin().get("csv_parser").module.read_bytes()
    assert "no result within" in services.compile_failure(data)


def test_the_running_node_is_looked_at(run, fake) -> None:
    """Its state, restarts, pending messages and troubles."""
    url = ("--url", fake.url)
    assert run("doctor", "node", *url).code == 0
    fake.agents = [an_agent("Billing", reload=BROKEN)]
    fake.node = a_node(processes=(ProcessView("shard-0", 1, "ready", 2),))
    done = run("doctor", "node", *url, "--json")
    assert done.code == 10
    assert checks(done, "node")["restarts"]["level"] == "warn"
    fake.node = a_node(processes=(ProcessView("shard-0", 1, "failed"),))
    assert run("doctor", "node", *url).code == 20
    fake.refusal = NotAuthorized(who="you", action="look")
    assert run("doctor", "node", *url).code == 20
    fake.close()
    assert run("doctor", "node", *url).code == 20


def test_the_memory_is_looked_at(run, fake, tmp_path, monkeypatch) -> None:
    """Its backend, its model, and what the running node says of it."""
    url = ("--url", fake.url)
    monkeypatch.setenv("CAXTON_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CAXTON_MEMORY_ENGINE", "none")
    asleep = checks(run("doctor", "memory", *url, "--json"), "memory")
    assert asleep["backend"] == {
        "name": "backend", "level": "ok", "value": "embedded, nothing is kept yet", "remedy": "",
    }  # fmt: skip
    assert asleep["model"]["value"].startswith("none")
    assert "not asked" in asleep["answers"]["value"]

    (tmp_path / "data" / "memory" / "store").mkdir(parents=True)
    fake.node = a_node(memory=MemoryView(open=True, entities=1_200, relations=3, unembedded=4))
    awake = checks(run("doctor", "memory", *url, "--json"), "memory")
    assert awake["backend"]["value"].endswith("data/memory/store")
    assert awake["answers"]["value"] == "1,200 entities, 3 relations, 4 wait for vectors"

    fake.node = a_node(memory=MemoryView(note="the memory (embedded) does not answer"))
    told = run("doctor", "memory", *url, "--json")
    assert told.code == 10
    assert checks(told, "memory")["answers"]["level"] == "warn"
    fake.close()
    assert "answers" not in checks(run("doctor", "memory", *url, "--json"), "memory")

    monkeypatch.setenv("CAXTON_MEMORY_ENGINE", "onnx")
    monkeypatch.setenv("CAXTON_MEMORY_MODEL", str(tmp_path / "none"))
    lacking = checks(run("doctor", "memory", *url, "--json"), "memory")
    assert lacking["model"]["level"] == "warn"
    assert "words only" in lacking["model"]["value"]
    assert "memory.model" in lacking["model"]["remedy"]

    monkeypatch.setenv("CAXTON_MEMORY_BACKEND", "qdrant")
    monkeypatch.setenv("CAXTON_MEMORY_URL", "http://localhost:6333")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    missing = run("doctor", "memory", *url, "--json")
    assert missing.code == 20
    assert "caxton[qdrant]" in checks(missing, "memory")["backend"]["remedy"]

    monkeypatch.setenv("CAXTON_MEMORY_ENABLED", "false")
    off = checks(run("doctor", "memory", *url, "--json"), "memory")
    assert list(off) == ["memory"]


def test_a_taken_port_is_a_warning_unless_it_is_ours(run, monkeypatch, tmp_path) -> None:
    """Another program on the port warns; our own node there is as it should be; 0 is any port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("CAXTON_PORT", str(port))
        name = f"port {port}"
        assert checks(run("doctor", "ports", "--json"), "ports")[name]["level"] == "warn"
        (tmp_path / "caxton-data" / "run").mkdir(parents=True)
        announced = tmp_path / "caxton-data" / "run" / "node.json"
        announced.write_text(f'{{"pid": 7, "url": "http://127.0.0.1:{port}"}}')
        assert checks(run("doctor", "ports", "--json"), "ports")[name]["level"] == "ok"
    assert run("doctor", "ports").code == 0
    monkeypatch.setenv("CAXTON_PORT", "0")
    assert run("doctor", "ports").code == 0
