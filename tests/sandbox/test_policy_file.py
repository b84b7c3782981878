"""Policy files: those of Wassette and policy-mcp as they are, and what this sandbox adds."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import Limits
from sandbox.grants import DatabaseGrant, FolderGrant, Grants, HostGrant
from sandbox.policy import Policy, PolicyError

MIB = 1024 * 1024


def read(body: str, version: str = '"1.0"') -> Policy:
    """A policy with this under ``permissions``."""
    inner = textwrap.indent(textwrap.dedent(body), "  ")
    return Policy.read(f"version: {version}\npermissions:\n{inner}")


def error(body: str) -> PolicyError:
    """Why a policy is refused."""
    with pytest.raises(PolicyError) as refused:
        read(body)
    return refused.value


class TestOfOthers:
    """Files as Wassette's users have them."""

    def test_the_whole_of_version_one(self, tmp_path: Path) -> None:
        """Storage, network and environment become grants; nothing is left to warn of."""
        (tmp_path / "work" / "agent").mkdir(parents=True)
        (tmp_path / "logs").mkdir()
        policy = Policy.read(
            """\
$schema: https://example.com/policy-v1.0.schema.json
version: "1.0"
description: "a tool"
permissions:
  storage:
    allow:
      - uri: "fs://work/agent/**"
        access: ["read", "write"]
      - uri: "fs://logs"
        access: ["read"]
  network:
    allow:
      - host: "api.example.com"
      - host: "*.internal.example.com"
      - host: "https://secure.example.com/"
      - cidr: "10.0.0.0/8"
    deny:
      - host: "bad.internal.example.com"
      - cidr: "169.254.0.0/16"
  environment:
    allow:
      - key: "PATH"
      - key: "NOT_SET"
"""
        )
        assert (policy.version, policy.description, policy.warnings) == ("1.0", "a tool", ())
        environ = {"PATH": "/bin", "SECRET": "s"}
        assert policy.grants(tmp_path, environ, {}) == Grants(
            folders=(
                FolderGrant(tmp_path / "work" / "agent", "work/agent", write=True),
                FolderGrant(tmp_path / "logs", "logs"),
            ),
            env=(("PATH", "/bin"),),
            hosts=(
                HostGrant("api.example.com", scheme="*"),
                HostGrant("*.internal.example.com", scheme="*"),
                HostGrant("secure.example.com", scheme="https"),
                HostGrant("10.0.0.0/8", scheme="*", private=True),
            ),
            denied_hosts=("bad.internal.example.com", "169.254.0.0/16"),
        )
        assert policy.limits(Limits()) == Limits()

    @pytest.mark.parametrize("permissions", ["permissions:", "permissions: {}", ""])
    def test_nothing_allowed_is_nothing_granted(self, tmp_path: Path, permissions: str) -> None:
        """However it is written."""
        policy = Policy.read(f'version: "1.0"\n{permissions}\n')
        assert not policy.grants(tmp_path, {"A": "1"})
        assert policy.warnings == ()

    @pytest.mark.parametrize("version", ['"1.0"', '"1.1"', "1.0", "'1.10'"])
    def test_versions_of_one(self, version: str) -> None:
        """With and without quotes."""
        assert read("{}", version).version == version.strip("\"'")

    @pytest.mark.parametrize("version", ['"2.0"', "1", "", "[]", '"1.x"', '"10.0"'])
    def test_other_versions_are_refused(self, version: str) -> None:
        """They may mean something else."""
        with pytest.raises(PolicyError, match="version"):
            read("{}", version)

    def test_lists_may_be_null(self) -> None:
        """As their schema has it."""
        policy = read("storage: {allow: , deny: }\nnetwork: {allow: null}\nenvironment:\n")
        assert policy.storage == policy.hosts == policy.environment == ()

    def test_what_has_no_effect_here_is_said(self) -> None:
        """With its line; it grants nothing."""
        policy = Policy.read(
            textwrap.dedent(
                """\
                version: "1.0"
                owner: me
                x-note: mine
                permissions:
                  runtime:
                    docker: {security: {privileged: true}}
                  ipc: {allow: [{uri: "pipe://x"}]}
                  sockets: {allow: [{port: 1}]}
                  storage:
                    allow:
                    - {uri: "http://x", access: [read]}
                    - {uri: "fs://out", access: [write]}
                  network:
                    allow: [{defaults: true}]
                    deny: [{cidr: 0.0.0.0/0}]
                  resources: {cpu: 50, io: 1000}
                """
            )
        )
        lines = [int(warning.split()[1].rstrip(":")) for warning in policy.warnings]
        assert sorted(lines) == [2, 5, 7, 8, 11, 12, 14, 15, 16, 16]
        assert policy.hosts == ()

    @pytest.mark.parametrize(
        ("resources", "memory"),
        [
            ("{memory: 64}", 64 * MIB),
            ("{limits: {memory: 64Mi}}", 64 * MIB),
            ("{limits: {memory: 0.25Gi, cpu: 500m}}", 256 * MIB),
            ("{limits: {memory: 100M}, memory: 1}", 100_000_000),
            ("{memory: 4096}", 512 * MIB),
            ("{limits: }", Limits().memory_bytes),
            ("{}", Limits().memory_bytes),
        ],
    )
    def test_memory_as_they_write_it(self, resources: str, memory: int) -> None:
        """In MB, or as Kubernetes does; more than is possible is cut and said."""
        policy = read(f"resources: {resources}")
        assert policy.limits(Limits()).memory_bytes == memory
        assert ("4096" in resources) == any(
            "are the most" in warning for warning in policy.warnings
        )


def test_the_example_of_the_reference_is_one() -> None:
    """It is read without a warning, and uses every kind."""
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "policy.md"
    policy = Policy.read(page.read_text().partition("```yaml\n")[2].partition("```")[0])
    assert policy.warnings == ()
    assert all((policy.storage, policy.hosts, policy.denied_hosts, policy.environment, policy.kv))
    assert policy.database_names == ("shop",)
    assert policy.limits(Limits.for_command()).wall_ms == 5000


class TestStorage:
    """One preopen for each folder."""

    @pytest.mark.parametrize(
        ("uri", "guest"),
        [
            ("fs://a/b/**", "a/b"),
            ("fs://a/b/", "a/b"),
            ("fs://a//b", "a/b"),
            ("fs://", "."),
            ("fs://**", "."),
        ],
    )
    def test_paths_are_below_the_workspace(self, tmp_path: Path, uri: str, guest: str) -> None:
        """The guest sees them under the name they have there."""
        (tmp_path / "a" / "b").mkdir(parents=True)
        policy = read(f"storage: {{allow: [{{uri: '{uri}', access: [read]}}]}}")
        (folder,) = policy.grants(tmp_path, {}).folders
        assert (folder.guest, folder.host) == (guest, (tmp_path / guest).resolve())

    def test_paths_outside_need_the_caller(self, tmp_path: Path) -> None:
        """Absolute ones, and symlinks that lead out."""
        workspace, other = tmp_path / "w", tmp_path / "o"
        workspace.mkdir()
        other.mkdir()
        (workspace / "link").symlink_to(other)
        for uri, guest in ((f"fs://{other}", str(other)), ("fs://link", "link")):
            policy = read(f"storage: {{allow: [{{uri: '{uri}', access: [read]}}]}}")
            with pytest.raises(PolicyError, match="outside the workspace"):
                policy.grants(workspace, {})
            (folder,) = policy.grants(workspace, {}, outside=True).folders
            assert (folder.guest, folder.host) == (guest, other.resolve())

    @pytest.mark.parametrize(
        "uri",
        ["fs://a/**/b", "fs://a/*", "fs://a/*.log", "fs://*/a", "fs://a/b**", "fs://a/../b",
         "fs://./a", "fs://a\\\\b", "fs://a/[b]"],
    )  # fmt: skip
    def test_what_no_folder_is_is_refused(self, uri: str) -> None:
        """Patterns inside and climbing; the error has its place."""
        refused = error(f'storage:\n  allow:\n  - uri: "{uri}"\n    access: [read]')
        assert (refused.line, refused.column) == (5, 12)

    def test_single_files_and_missing_folders_are_refused(self, tmp_path: Path) -> None:
        """With what to do instead."""
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "file.txt").touch()
        for uri, message in (("fs://a/file.txt", "name fs://a"), ("fs://b", "not there")):
            policy = read(f"storage: {{allow: [{{uri: '{uri}', access: [read]}}]}}")
            with pytest.raises(PolicyError, match=message) as refused:
                policy.grants(tmp_path, {})
            assert refused.value.line == 3

    def test_entries_of_one_path_add_up(self, tmp_path: Path) -> None:
        """They are one preopen; a quota is ours."""
        (tmp_path / "a").mkdir()
        policy = read(
            """\
            storage:
              allow:
              - {uri: fs://a, access: [read]}
              - {uri: fs://a/**, access: [read, write], quota_bytes: 100Mi}
            """
        )
        (folder,) = policy.grants(tmp_path, {}).folders
        assert (folder.write, folder.quota_bytes) == (True, 100 * MIB)

    @pytest.mark.parametrize(
        ("denied", "access", "left"),
        [
            ("fs://a", "read", None),
            ("fs://a/**", "read, write", None),
            ("fs://", "read", None),
            ("fs://a", "write", "ro"),
            ("fs://b", "read", "rw"),
            ("fs://ab", "read", "rw"),
            ("fs://a/b", "read", "error"),
            ("fs://a/b/**", "write", "error"),
            ("fs://a/*.key", "read", "error"),
            ("fs://*/b", "read", "error"),
            ("fs://c/*.key", "read", "rw"),
            ("fs://link", "read", None),
        ],
    )
    def test_denials_are_kept_or_refused(
        self, tmp_path: Path, denied: str, access: str, left: str | None
    ) -> None:
        """A whole folder can be denied, a part of a granted one cannot; symlinks are seen."""
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "link").symlink_to("a")
        policy = read(
            f"""\
            storage:
              allow: [{{uri: fs://a, access: [read, write]}}]
              deny: [{{uri: '{denied}', access: [{access}]}}]
            """
        )
        if left == "error":
            with pytest.raises(PolicyError, match="WASI cannot keep"):
                policy.grants(tmp_path, {})
            return
        folders = policy.grants(tmp_path, {}).folders
        assert ["rw" if folder.write else "ro" for folder in folders] == ([left] if left else [])

    def test_writing_may_be_denied_below_what_is_only_read(self, tmp_path: Path) -> None:
        """Nothing can be written there anyway."""
        (tmp_path / "a").mkdir()
        policy = read(
            """\
            storage:
              allow: [{uri: fs://a, access: [read]}]
              deny: [{uri: fs://a/b, access: [write]}]
            """
        )
        assert len(policy.grants(tmp_path, {}).folders) == 1


class TestAdditions:
    """What other readers of the format do not know."""

    def test_hosts_can_be_narrowed(self) -> None:
        """Methods, ports, scheme; and widened to private addresses."""
        policy = read(
            """\
            network:
              allow:
              - {host: a.test, methods: [GET, HEAD], scheme: https, ports: [443, 8443]}
              - {host: "b.test:8080", private: true}
              - {host: 127.0.0.1, port: 9000}
              - {host: "[::1]:9000"}
              - {host: "::1"}
              - {host: localhost}
              - {host: 8.8.8.8}
              - {cidr: "2001:db8::/32"}
              - {cidr: 0.0.0.0/0}
              - {host: bücher.test}
            """
        )
        get = frozenset({"GET", "HEAD"})
        assert policy.hosts == (
            HostGrant("a.test", 443, "https", get),
            HostGrant("a.test", 8443, "https", get),
            HostGrant("b.test", 8080, "*", private=True),
            HostGrant("127.0.0.1", 9000, "*", private=True),
            HostGrant("::1", 9000, "*", private=True),
            HostGrant("::1", None, "*", private=True),
            HostGrant("localhost", None, "*", private=True),
            HostGrant("8.8.8.8", None, "*"),
            HostGrant("2001:db8::/32", None, "*", private=True),
            HostGrant("0.0.0.0/0", None, "*"),
            HostGrant("xn--bcher-kva.test", None, "*"),
        )

    def test_stores_and_databases(self, tmp_path: Path) -> None:
        """By name; a source the caller gives wins over the policy's file."""
        policy = read(
            """\
            kv: notes
            memory_search: team
            databases:
              allow:
              - {name: shop, uri: fs://shop.db}
              - {name: log, statements: [select, insert], write: true}
            """
        )
        assert policy.database_names == ("shop", "log")
        grants = policy.grants(tmp_path, {}, {"log": "postgresql://u:p@h/x"})
        assert (grants.kv, grants.memory) == ("notes", "team")
        assert grants.databases == (
            DatabaseGrant("shop", str(tmp_path.resolve() / "shop.db")),
            DatabaseGrant(
                "log",
                "postgresql://u:p@h/x",
                write=True,
                statements=frozenset({"SELECT", "INSERT"}),
            ),
        )
        both = policy.grants(tmp_path, {}, {"log": "l.db", "shop": "/else/where.db"})
        assert both.databases[0].source == "/else/where.db"
        with pytest.raises(PolicyError, match="log has no source"):
            policy.grants(tmp_path, {}, {})

    def test_a_database_stays_in_the_workspace(self, tmp_path: Path) -> None:
        """Unless the caller allows more."""
        (tmp_path / "w").mkdir()
        for uri in ("fs://../o.db", f"fs://{tmp_path}/o.db"):
            policy = read(f"databases: {{allow: [{{name: a, uri: '{uri}'}}]}}")
            with pytest.raises(PolicyError, match="outside"):
                policy.grants(tmp_path / "w", {})
            assert policy.grants(tmp_path / "w", {}, outside=True).databases

    def test_resources(self) -> None:
        """Any field of the limits, bytes with units; what is not set keeps its default."""
        policy = Policy.read(
            textwrap.dedent(
                """\
                version: "1.0"
                permissions:
                  resources: {memory: 32}
                resources:
                  fuel: 5_000_000
                  memory: 64Mi
                  wall_ms: 2000
                  stdout_bytes: 100k
                """
            )
        )
        default = Limits.for_command()
        limits = policy.limits(default)
        assert (limits.fuel, limits.memory_bytes) == (5_000_000, 64 * MIB)
        assert (limits.wall_ms, limits.stdout_bytes) == (2000, 100_000)
        assert limits.reply_bytes == default.reply_bytes


class TestFaults:
    """One clear error, with its place."""

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("storage: []", "key: value"),
            ("storage: {allow: x}", "list"),
            ("storage: {alow: []}", "alow is not known"),
            ("storage: {allow: [x]}", "key: value"),
            ("storage: {allow: [{uri: fs://a}]}", "lacks access"),
            ("storage: {allow: [{access: [read]}]}", "lacks uri"),
            ("storage: {allow: [{uri: fs://a, access: []}]}", "not empty"),
            ("storage: {allow: [{uri: fs://a, access: [run]}]}", "run"),
            ("storage: {allow: [{uri: fs://a, access: [read], quota: 1}]}", "quota is not known"),
            ("network: {allow: [{}]}", "needs a host or a cidr"),
            ("network: {allow: [{host: a, cidr: 10.0.0.0/8}]}", "needs a host or a cidr"),
            ("network: {allow: [{host: a.test, methdos: [GET]}]}", "methdos is not known"),
            ("network: {allow: [{host: a.test, methods: [get]}]}", "methods"),
            ("network: {allow: [{host: a.test, methods: GET}]}", "list"),
            ("network: {allow: [{host: a.test, ports: [0]}]}", "port"),
            ("network: {allow: [{host: a.test, port: x}]}", "whole number"),
            ("network: {allow: [{host: 'a.test:99999'}]}", "port"),
            ("network: {allow: [{host: 'a.test:1', port: 2}]}", "port"),
            ("network: {allow: [{host: a.test, private: 'yes'}]}", "true or false"),
            ("network: {allow: [{host: a.test, scheme: ftp}]}", "scheme"),
            ("network: {allow: [{host: 'https://a.test', scheme: http}]}", "already"),
            ("network: {allow: [{host: 'https://a.test/path'}]}", "host"),
            ("network: {allow: [{host: 'a*.test'}]}", r"\*"),
            ("network: {allow: [{host: '*.*.test'}]}", "host name"),
            ("network: {allow: [{host: ''}]}", "text"),
            ("network: {allow: [{host: 1}]}", "text"),
            ("network: {allow: [{host: 2130706433.1}]}", "text"),
            ("network: {allow: [{host: '127.1'}]}", "four decimal"),
            ("network: {allow: [{cidr: 10.0.0.1/8}]}", "host bits"),
            ("network: {deny: [{defaults: true}]}", "defaults"),
            ("environment: {allow: [{key: 'A*'}]}", "one name"),
            ("environment: {allow: [{}]}", "lacks key"),
            ("environment: {deny: []}", "deny is not known"),
            ("kv: ''", "text"),
            ("kv: [a]", "text"),
            ("databases: {allow: [{}]}", "lacks name"),
            ("databases: {allow: [{name: a, uri: /x}]}", "fs://"),
            ("databases: {allow: [{name: a}, {name: a}]}", "already"),
            ("databases: {allow: [{name: a, statements: [DELETE]}]}", "write"),
            ("databases: {allow: [{name: a, statements: [EXEC]}]}", "SELECT"),
            ("resources: {memory: x}", "whole number"),
            ("resources: {limits: {memory: 1Xi}}", "Ki, Mi"),
            ("resources: {limits: {memory: 1k}}", "allowed"),
        ],
    )
    def test_what_cannot_be_read_is_refused(self, body: str, message: str) -> None:
        """By its name, never half."""
        with pytest.raises(PolicyError, match=message) as refused:
            read(body)
        assert refused.value.line == 3
        assert str(refused.value).startswith("policy, line 3, column ")

    @pytest.mark.parametrize(
        ("resources", "message"),
        [
            ("{fule: 1}", "fule is not known"),
            ("{fuel: 0}", "allowed"),
            ("{fuel: 1Mi}", "whole number"),
            ("{stack_bytes: 65Ki}", "allowed"),
            ("{memory: 64Mi, memory_bytes: 1Mi}", "already"),
            ("{memory: 64}", "allowed"),
            ("[]", "key: value"),
        ],
    )
    def test_resources_have_ranges(self, resources: str, message: str) -> None:
        """Those of the limits."""
        with pytest.raises(PolicyError, match=message):
            Policy.read(f'version: "1.0"\nresources: {resources}\n')

    @pytest.mark.parametrize(
        "text",
        [
            "", "# nothing", "[]", "text", "a: [", "a: b: c", "version: '1.0'\nversion: '1.0'",
            "? [a]\n: b", "version: !!python/object:os.system x", "<<: {a: b}", "%YAML 1.1\n--- a",
            "a: *b", "1: a", "x: " + "[" * 200, "x: " + "{a: " * 200, "a" * 300_000,
            "x-a:\n" + "- 1\n" * 20_000,
        ],
    )  # fmt: skip
    def test_what_is_no_policy_is_refused(self, text: str) -> None:
        """Broken, nested, tagged, huge."""
        with pytest.raises(PolicyError):
            Policy.read(text)

    def test_aliases_do_not_multiply(self) -> None:
        """Nine levels of ten aliases are a thousand million values."""
        levels = [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
        with pytest.raises(PolicyError, match="values"):
            Policy.read("\n".join(["x-0: &a0 [1]", *levels]))

    @given(st.text(max_size=60))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        """With the one error there is."""
        for body in (text, f'version: "1.0"\npermissions:\n  network: {text}'):
            try:
                policy = Policy.read(body)
            except PolicyError:
                continue
            assert policy.version == "1.0"
