"""Programs in C, Rust, Go and AssemblyScript use WASI through a worker as its documents say.

Sources and verbs: ``wasi_programs/README.md``. The numbers of errors are those of WASI snapshot
preview 1, ``errno``. One worker serves all of them, as it would serve tools.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox import (
    CompileLimits,
    FolderGrant,
    Grants,
    Limits,
    Module,
    Reason,
    Sandbox,
    SandboxError,
)

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module")]

PROGRAMS = Path(__file__).with_name("wasi_programs")
LANGUAGES = ("c", "rust", "go", "assemblyscript")

ENOTSUP_OR_PERM = {2, 63, 69, 76}
"""acces, perm, rofs, notcapable: any of them is a refusal by capability."""

BADF, EXIST, ISDIR, NOENT, NOTDIR, NOTEMPTY = 8, 20, 31, 44, 54, 55


@dataclass(frozen=True)
class Program:
    """One language's program, with a writable folder ``/rw`` and a read-only one ``/ro``."""

    language: str
    box: Sandbox
    module: Module
    root: Path

    @property
    def rw(self) -> Path:
        """The writable folder on the host."""
        return self.root / "rw"

    @property
    def ro(self) -> Path:
        """The read-only folder on the host."""
        return self.root / "ro"

    async def run(
        self, *args: str, stdin: bytes = b"", env: tuple[tuple[str, str], ...] = (), wall: int = 20
    ) -> tuple[int, bytes, bytes]:
        """Exit code, standard output and standard error. ``wall`` in seconds."""
        folders = (FolderGrant(self.rw, "/rw", write=True), FolderGrant(self.ro, "/ro"))
        limits = Limits.for_command(memory_bytes=128 << 20, wall_ms=wall * 1000)
        got = await self.box.run_command(self.module, stdin, limits, Grants(folders, env), args)
        return got.exit_code, got.stdout, got.stderr

    async def out(self, *args: str) -> str:
        """What it printed; it must have ended well and said nothing else."""
        code, stdout, stderr = await self.run(*args)
        assert (code, stderr) == (0, b""), args
        return stdout.decode()

    async def errno(self, *args: str) -> int:
        """The number of the error it ended with, having printed nothing."""
        code, stdout, stderr = await self.run(*args)
        assert (code, stdout) == (1, b""), args
        word, number = stderr.decode().split()
        assert word == "errno"
        return int(number)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def box(cache_dir: Path) -> AsyncIterator[Sandbox]:
    """One worker, and time to compile Go's module on a busy machine."""
    patient = CompileLimits(memory_bytes=1 << 30, cpu_seconds=100, wall_ms=100_000)
    async with Sandbox(cache_dir, workers=1, compile_limits=patient) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module", params=LANGUAGES)
async def program(request: pytest.FixtureRequest, box: Sandbox, tmp_path: Path) -> Program:
    """Each language in turn."""
    return await load(request.param, box, tmp_path)


@pytest_asyncio.fixture(loop_scope="module")
async def in_c(box: Sandbox, tmp_path: Path) -> Program:
    """The program in C, which can do more."""
    return await load("c", box, tmp_path)


async def load(language: str, box: Sandbox, root: Path) -> Program:
    """A program with its folders: a file, links to it and out, and a secret beside them."""
    for name in ("rw", "ro"):
        (root / name).mkdir()
    (root / "secret").write_text("SECRET")
    (root / "ro" / "a.txt").write_text("0123456789")
    (root / "ro" / "inner").symlink_to("a.txt")
    (root / "ro" / "up").symlink_to("../secret")
    (root / "ro" / "absolute").symlink_to(root / "secret")
    (root / "ro" / "folder").symlink_to("..", target_is_directory=True)
    module = await box.prepare((PROGRAMS / language / "probe.wasm").read_bytes())
    return Program(language, box, module, root)


async def test_built_modules_are_the_ones_committed() -> None:
    """Each has its hash in the list that the build script writes."""
    lines = (PROGRAMS / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split() for line in lines)}
    assert sorted(sums) == sorted(f"{language}/probe.wasm" for language in LANGUAGES)
    for name, digest in sums.items():
        assert hashlib.sha256((PROGRAMS / name).read_bytes()).hexdigest() == digest


async def test_arguments_variables_and_exit_codes(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments as given, no variable of the host, granted ones; any exit code is a result."""
    words = ("a b", "", "ünï", "--flag=1", "'q'")
    assert await program.out("args", *words) == "".join(f"{word}\n" for word in words)
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    assert await program.out("env") == ""
    code, stdout, _ = await program.run("env", env=(("B", "2"), ("A", "x=y"), ("EMPTY", "")))
    assert (code, stdout) == (0, b"A=x=y\nB=2\nEMPTY=\n")
    for expected in (0, 1, 7, 125, 126, 255):
        assert await program.run("exit", str(expected)) == (expected, b"", b"")


async def test_standard_streams(program: Program) -> None:
    """Input to its end, also none and much; output and errors apart."""
    assert await program.run("both") == (0, b"out\n", b"err\n")
    assert await program.run("cat") == (0, b"", b"")
    data = os.urandom(1 << 20) * 8
    code, stdout, stderr = await program.run("cat", stdin=data)
    assert (code, stderr) == (0, b"")
    assert stdout == data


async def test_output_over_its_limit_is_refused(program: Program) -> None:
    """A real program that prints too much ends with the limit named, and the next call works."""
    limits = Limits(fuel=10**11, memory_bytes=128 << 20, wall_ms=20_000, stdout_bytes=100_000)
    with pytest.raises(SandboxError) as refused:
        await program.box.run_command(program.module, b"x" * 2_000_000, limits, Grants(), ("cat",))
    assert refused.value.reason is Reason.REPLY_TOO_LARGE
    assert refused.value.details["limit"] == 100_000
    assert await program.out("args", "again") == "again\n"


async def test_clocks(program: Program) -> None:
    """The time of day is the host's; the monotonic clock does not go back."""
    before = time.time_ns()
    real, first, second = map(int, (await program.out("clock")).split())
    assert before - 10**9 <= real <= time.time_ns() + 10**9
    assert second >= first >= 0


async def test_random_does_not_repeat(program: Program) -> None:
    """Each run has its own, of the length asked for, and all bytes take part."""
    drawn = [bytes.fromhex(await program.out("random", "4096")) for _ in range(2)]
    assert [len(data) for data in drawn] == [4096, 4096]
    assert drawn[0] != drawn[1]
    assert all(len(set(data)) > 200 for data in drawn)


async def test_sleeping_waits_and_ends_at_the_deadline(program: Program) -> None:
    """Never shorter than asked, by the guest's own clock; beyond the call's time it is ended."""
    assert int(await program.out("sleep", "60")) >= 60_000_000
    begun = time.monotonic()
    with pytest.raises(SandboxError) as stopped:
        await program.run("sleep", "3600000", wall=1)
    assert stopped.value.reason is Reason.TIMEOUT
    assert time.monotonic() - begun < 10


async def test_files_are_written_read_and_moved(program: Program) -> None:
    """What the guest does to its writable folder is there on the host, and the other way round."""
    await program.out("write", "/rw/f", "hello")
    await program.out("append", "/rw/f", " there")
    assert (program.rw / "f").read_text() == "hello there"
    assert await program.out("read", "/rw/f") == "hello there"
    assert await program.out("seek", "/rw/f", "6", "3") == "the"
    assert await program.out("seek", "/rw/f", "100", "3") == ""
    await program.out("truncate", "/rw/f", "5")
    await program.out("truncate", "/rw/f", "7")
    assert (program.rw / "f").read_bytes() == b"hello\0\0"
    await program.out("write", "/rw/f", "new")
    assert (program.rw / "f").read_text() == "new"
    await program.out("mkdir", "/rw/d")
    await program.out("rename", "/rw/f", "/rw/d/g")
    await program.out("create", "/rw/f")
    await program.out("rename", "/rw/f", "/rw/d/g")
    assert [path.name for path in program.rw.rglob("*")] == ["d", "g"]
    assert (program.rw / "d" / "g").read_bytes() == b""
    await program.out("rm", "/rw/d/g")
    await program.out("rmdir", "/rw/d")
    assert list(program.rw.iterdir()) == []
    large = os.urandom(1 << 20)
    (program.rw / "large").write_bytes(large * 4)
    code, stdout, _ = await program.run("read", "/rw/large")
    assert (code, stdout) == (0, large * 4)


async def test_folders_are_listed_and_files_described(program: Program) -> None:
    """More names than one buffer holds; kind, size and time as the host has them."""
    names = [f"{'long' * (n % 20)}{n:03}" for n in range(300)]
    for name in names:
        (program.rw / name).touch()
    (program.rw / "sub").mkdir()
    expected = sorted([*names, "sub/"])
    assert (await program.out("ls", "/rw")).split("\n") == [*expected, ""]
    assert await program.out("ls", "/rw/sub") == ""
    (program.rw / "sized").write_bytes(bytes(12_345))
    os.utime(program.rw / "sized", ns=(1, 1_700_000_000_123_456_789))
    assert await program.out("stat", "/rw/sized") == "file 12345 1700000000123456789\n"
    assert (await program.out("stat", "/rw/sub")).startswith("dir ")
    kind, size, _ = (await program.out("stat", "/ro/up")).split()
    assert (kind, size) == ("link", str(len("../secret")))


async def test_failures_have_the_numbers_of_wasi(program: Program) -> None:
    """Missing, there already, a folder, not a folder, not empty."""
    await program.out("mkdir", "/rw/d")
    await program.out("create", "/rw/d/f")
    assert await program.errno("read", "/rw/none") == NOENT
    assert await program.errno("read", "/rw/none/below") == NOENT
    assert await program.errno("create", "/rw/d/f") == EXIST
    assert await program.errno("mkdir", "/rw/d") == EXIST
    assert await program.errno("ls", "/rw/d/f") == NOTDIR
    assert await program.errno("stat", "/rw/d/f/x") == NOTDIR
    assert await program.errno("rmdir", "/rw/d") == NOTEMPTY
    assert await program.errno("rmdir", "/rw/d/f") == NOTDIR
    assert await program.errno("rm", "/rw/d") == ISDIR
    assert await program.errno("rm", "/rw/none") == NOENT
    assert await program.errno("rename", "/rw/none", "/rw/x") == NOENT
    await program.out("mkdir", "/rw/e")
    assert await program.errno("rename", "/rw/d/f", "/rw/e") in {ISDIR, EXIST}


async def test_a_read_only_folder_stays_as_it_is(program: Program) -> None:
    """Every way to change it is refused; reading goes on."""
    before = {path.name: os.lstat(path) for path in program.ro.iterdir()}
    await program.out("write", "/rw/mine", "x")
    for args in (
        ("write", "/ro/new", "x"),
        ("write", "/ro/a.txt", "x"),
        ("append", "/ro/a.txt", "x"),
        ("create", "/ro/new"),
        ("truncate", "/ro/a.txt", "0"),
        ("rm", "/ro/a.txt"),
        ("rename", "/ro/a.txt", "/ro/b"),
        ("rename", "/ro/a.txt", "/rw/stolen"),
        ("rename", "/rw/mine", "/ro/planted"),
        ("mkdir", "/ro/d"),
        ("symlink", "a.txt", "/ro/link"),
    ):
        assert await program.errno(*args) in ENOTSUP_OR_PERM, args
    assert {path.name: os.lstat(path)[:9] for path in program.ro.iterdir()} == {
        name: status[:9] for name, status in before.items()
    }
    assert await program.out("read", "/ro/a.txt") == "0123456789"


async def test_there_is_no_way_out_of_a_folder(program: Program) -> None:
    """Up, by an absolute path, by a link that was there or that the guest made: all refused."""
    await program.out("symlink", "../secret", "/rw/made")
    await program.out("symlink", "../..", "/rw/far")
    for path in (
        "/ro/../secret",
        "/ro/./../ro/../../secret",
        "/ro/up",
        "/ro/absolute",
        "/ro/folder/secret",
        "/rw/made",
        "/rw/far/secret",
        "/secret",
        "/etc/passwd",
        str(program.root / "secret"),
        "../secret",
        "secret",
        "/",
    ):
        code, stdout, stderr = await program.run("read", path)
        assert (code, stdout) == (1, b""), path
        assert stderr.startswith(b"errno "), path
    for args in (
        ("write", "/rw/../escaped", "x"),
        ("write", "/rw/far/escaped", "x"),
        ("rename", "/rw/made", "/rw/../escaped"),
        ("mkdir", "/rw/../escaped"),
        ("rm", "/rw/../secret"),
        ("rm", "/rw/far/secret"),
    ):
        assert (await program.run(*args))[0] == 1, args
    assert sorted(path.name for path in program.root.iterdir()) == ["ro", "rw", "secret"]
    assert (program.root / "secret").read_text() == "SECRET"
    assert await program.out("read", "/ro/inner") == "0123456789"


async def test_without_a_grant_there_are_no_files(box: Sandbox, program: Program) -> None:
    """Not even the folder it runs in."""
    for path in ("probe.wasm", "/rw/f", ".", "/"):
        got = await box.run_command(program.module, args=("read", path))
        assert (got.exit_code, got.stdout) == (1, b""), path


@pytest.mark.parametrize("language", ["c", "rust"])
async def test_an_abort_is_a_trap(box: Sandbox, tmp_path: Path, language: str) -> None:
    """A program that aborts is an error of the guest, and the next call has a fresh worker."""
    program = await load(language, box, tmp_path)
    with pytest.raises(SandboxError) as trapped:
        await program.run("crash")
    assert (trapped.value.reason, trapped.value.details["trap"]) == (Reason.TRAP, "unreachable")
    assert await program.out("args", "again") == "again\n"


async def test_folders_by_their_descriptors(in_c: Program) -> None:
    """Past a library: the granted folders and no other descriptor, each the root of its paths."""
    assert await in_c.out("preopens") == "3 /rw\n4 /ro\n"
    assert await in_c.out("open", "4", "a.txt") == "0123456789"
    assert await in_c.errno("open", "5", "a.txt") == BADF
    assert await in_c.errno("open", "0", "a.txt") in {BADF, NOTDIR, 76}
    assert await in_c.errno("open", "4", "a.txt/") in {NOTDIR, NOENT}
    assert await in_c.errno("open", "4", "a.txt/.") == NOTDIR
    for path in ("../secret", "/etc/passwd", "up", "absolute", "folder/secret", "../ro/a.txt"):
        assert await in_c.errno("open", "4", path) in ENOTSUP_OR_PERM, path


async def test_links_and_the_end_of_files(in_c: Program) -> None:
    """A hard link within the writable folder only; where a link out points to is not told."""
    await in_c.out("write", "/rw/f", "shared")
    await in_c.out("link", "/rw/f", "/rw/hard")
    assert (in_c.rw / "f").samefile(in_c.rw / "hard")
    assert await in_c.errno("link", "/ro/a.txt", "/rw/taken") in ENOTSUP_OR_PERM
    assert await in_c.errno("link", "/rw/f", "/ro/planted") in ENOTSUP_OR_PERM
    assert await in_c.out("readlink", "/ro/up") == "../secret\n"
    assert await in_c.errno("readlink", "/ro/absolute") in ENOTSUP_OR_PERM
    assert await in_c.out("back", "/rw/f", "3", "9") == "red"


async def test_waiting_for_input_and_terminals(in_c: Program) -> None:
    """Input is a file: ready at once, also when it is empty. No stream is a terminal."""
    ready, waited = (await in_c.out("poll", "5000")).split()
    assert ready == "1"
    assert int(waited) < 5_000_000_000
    assert await in_c.out("tty") == "0 0 0\n"
