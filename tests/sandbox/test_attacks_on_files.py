"""Attacks of WASI commands on what lies around their folders, and on the machine's resources."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from pathlib import Path

import pytest
from sandbox_processes import MakeBox
from wasi_scripts import (
    CREATE,
    FBIG,
    FIRST,
    READ,
    SCRATCH,
    SUCCESS,
    WRITE,
    Opened,
    Step,
    opening,
    reading,
    script,
    writing,
)

from sandbox import FolderGrant, Grants, InvalidSetting, Limits, Reason, Sandbox, SandboxError
from sandbox.grants import refuse_special_files
from sandbox.pool import WorkerPool
from sandbox.testing import COMMANDS, wat

pytestmark = pytest.mark.process

SECRET = b"the secret of the host"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A granted folder with a secret beside it."""
    (tmp_path / "secret.txt").write_bytes(SECRET)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_bytes(SECRET)
    granted = tmp_path / "granted"
    granted.mkdir()
    (granted / "own.txt").write_bytes(b"own")
    (granted / "to-file").symlink_to("../secret.txt")
    (granted / "to-absolute").symlink_to(tmp_path / "secret.txt")
    (granted / "to-folder").symlink_to("../outside")
    (granted / "to-proc").symlink_to("/proc/self/environ")
    (granted / "round").symlink_to("round")
    return granted


class Attempts:
    """Runs scripts in a worker on a folder."""

    def __init__(self, box: Sandbox, folder: Path) -> None:
        self._box = box
        self.folder = folder

    async def __call__(
        self, *steps: Step, write: bool = False, limits: Limits | None = None, times: int = 1
    ) -> tuple[list[int], bytes]:
        """The errno of each step, and the start of what was read."""
        module = await self._box.prepare(wat(script(*steps, times=times)))
        # The folder's own quota has tests of its own; here it is out of the way.
        folder = FolderGrant(self.folder, "data", write=write, quota_bytes=1 << 40)
        grants = Grants(folders=(folder,))
        got = await self._box.run_command(module, limits=limits, grants=grants)
        return list(got.stdout[: len(steps)]), got.stdout[len(steps) :].rstrip(b"\0")


@pytest.fixture
def attempts(sandbox: Sandbox, folder: Path) -> Attempts:
    """Attempts in one worker."""
    return Attempts(sandbox, folder)


async def test_a_file_inside_is_read(attempts: Attempts) -> None:
    """The way is open where it was granted: otherwise the refusals below would say nothing."""
    assert await attempts(opening("own.txt"), reading(Opened(0))) == ([0, 0], b"own")


WAYS_OUT = (
    "../secret.txt",
    "./../secret.txt",
    "to-folder/../secret.txt",
    "own.txt/../../secret.txt",
    "/etc/passwd",
    "/proc/self/environ",
    "to-file",
    "to-file/",
    "to-absolute",
    "to-folder/secret.txt",
    "to-proc",
    "round",
    "..",
    "../",
    "/",
    "own.txt\0/../../secret.txt",
)


@pytest.mark.parametrize("write", [False, True])
async def test_no_path_leads_out(attempts: Attempts, write: bool) -> None:
    """Climbing, absolute paths and links of every kind are refused, and no byte is read."""
    steps: list[Step] = []
    for path in WAYS_OUT:
        for follow in (True, False):
            steps += [opening(path, follow=follow), reading(Opened(len(steps)))]
    errnos, got = await attempts(*steps, write=write)
    for number, path in enumerate(WAYS_OUT):
        assert SUCCESS not in errnos[4 * number : 4 * number + 4], path
    assert got == b""


async def test_no_file_is_written_outside(attempts: Attempts) -> None:
    """Creating, renaming, linking and removing across the edge, with everything granted."""
    steps: list[Step] = [
        opening("../new.txt", CREATE, WRITE),
        opening("to-folder/new.txt", CREATE, WRITE),
        ("path_create_directory", FIRST, "../made"),
        ("path_rename", FIRST, "own.txt", FIRST, "../stolen.txt"),
        ("path_rename", FIRST, "../secret.txt", FIRST, "taken.txt"),
        ("path_link", FIRST, 1, "../secret.txt", FIRST, "hard.txt"),
        ("path_link", FIRST, 1, "to-file", FIRST, "hard-followed.txt"),
        ("path_link", FIRST, 0, "own.txt", FIRST, "../hard.txt"),
        ("path_unlink_file", FIRST, "../secret.txt"),
        ("path_unlink_file", FIRST, "to-folder/secret.txt"),
        ("path_remove_directory", FIRST, "../outside"),
    ]
    errnos, _ = await attempts(*steps, write=True)
    assert SUCCESS not in errnos
    outside = attempts.folder.parent
    assert sorted(one.name for one in outside.iterdir()) == ["granted", "outside", "secret.txt"]
    assert [one.name for one in (outside / "outside").iterdir()] == ["secret.txt"]
    assert (outside / "secret.txt").read_bytes() == SECRET
    assert (attempts.folder / "own.txt").exists()


async def test_a_hard_link_to_a_symlink_leads_nowhere(attempts: Attempts) -> None:
    """The link itself may be doubled inside the folder; neither name opens what it points to."""
    errnos, got = await attempts(
        ("path_link", FIRST, 0, "to-file", FIRST, "twin"),
        opening("twin"),
        reading(Opened(1)),
        write=True,
    )
    assert SUCCESS not in errnos[1:]
    assert got == b""


async def test_a_read_only_folder_stays_as_it_is(attempts: Attempts) -> None:
    """Nothing is made, linked, renamed, cut or removed in it."""
    before = sorted(one.name for one in attempts.folder.iterdir())
    errnos, _ = await attempts(
        opening("made.txt", CREATE, WRITE),
        opening("own.txt", 0, WRITE),
        opening("own.txt", 8, READ),
        ("path_create_directory", FIRST, "made"),
        ("path_symlink", "own.txt", FIRST, "made-link"),
        ("path_link", FIRST, 0, "own.txt", FIRST, "made-hard"),
        ("path_rename", FIRST, "own.txt", FIRST, "renamed"),
        ("path_unlink_file", FIRST, "own.txt"),
        opening("own.txt", 0, READ | WRITE),
        ("fd_filestat_set_size", Opened(8), 0),
        writing(Opened(8)),
    )
    assert SUCCESS not in errnos[:8]
    assert SUCCESS not in errnos[9:]
    assert sorted(one.name for one in attempts.folder.iterdir()) == before
    assert (attempts.folder / "own.txt").read_bytes() == b"own"


async def test_a_symlink_a_guest_leaves_behind_leads_nobody_out(attempts: Attempts) -> None:
    """It may be made in a writable folder; the guest cannot follow it, and the host does not."""
    made = ("path_symlink", "../secret.txt", FIRST, "left")
    errnos, got = await attempts(made, opening("left"), reading(Opened(1)), write=True)
    assert SUCCESS not in errnos[1:]
    assert got == b""
    left = attempts.folder / "left"
    if errnos[0] == SUCCESS:
        assert stat.S_ISLNK(left.lstat().st_mode)
    else:
        left.symlink_to("../secret.txt")
    # The look for special files does not follow it, so that a link to a FIFO blocks nobody.
    left.unlink()
    os.mkfifo(attempts.folder.parent / "pipe")
    left.symlink_to("../pipe")
    refuse_special_files(attempts.folder)


async def test_a_sparse_terabyte_is_refused(attempts: Attempts) -> None:
    """Setting a size beyond the worker's largest file fails, in each way there is."""
    errnos, _ = await attempts(
        opening("huge", CREATE, WRITE),
        ("fd_filestat_set_size", Opened(0), 1 << 40),
        ("fd_allocate", Opened(0), 0, 1 << 40),
        ("fd_pwrite", Opened(0), 32, 1, 1 << 40, SCRATCH),
        ("fd_filestat_set_size", Opened(0), 1000),
        write=True,
    )
    assert errnos[0] == SUCCESS
    assert SUCCESS not in errnos[1:4]
    assert (attempts.folder / "huge").stat().st_size <= 1000


async def test_a_file_stops_growing_at_its_limit(attempts: Attempts) -> None:
    """70 MB offered: at most 64 MiB are there, the guest is told, and the worker lives."""
    errnos, _ = await attempts(
        opening("full", CREATE, WRITE), writing(Opened(0)), write=True, times=1_100
    )
    assert errnos == [SUCCESS, FBIG]
    assert (attempts.folder / "full").stat().st_size == 64 << 20
    (attempts.folder / "full").unlink()
    assert (await attempts(opening("own.txt"), reading(Opened(0))))[1] == b"own"


async def test_no_socket_is_there(attempts: Attempts) -> None:
    """Whatever descriptor is tried, nothing accepts, sends or receives; nobody hears a thing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        steps: list[Step] = []
        for descriptor in range(8):
            steps += [
                ("sock_accept", descriptor, 0, SCRATCH),
                ("sock_send", descriptor, 32, 1, 0, SCRATCH),
                ("sock_recv", descriptor, 32, 1, 0, SCRATCH, SCRATCH + 4),
                ("sock_shutdown", descriptor, 3),
            ]
        errnos, _ = await attempts(*steps)
        with pytest.raises(TimeoutError):
            server.accept()
    assert SUCCESS not in errnos


async def test_nothing_of_the_host_is_in_arguments_and_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One argument, the tool's name; no variable; no folder."""
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    text = script(
        ("args_sizes_get", 0x800, 0x804),
        ("environ_sizes_get", 0x808, 0x80C),
        ("fd_prestat_get", FIRST, SCRATCH),
        show=(0x800, 16),
    )
    got = await sandbox.run_command(await sandbox.prepare(wat(text)))
    assert got.stdout[:2] == bytes(2)
    assert got.stdout[2] != SUCCESS
    numbers = [int.from_bytes(got.stdout[3 + 4 * n : 7 + 4 * n], "little") for n in range(4)]
    assert numbers == [1, len("tool") + 1, 0, 0]


async def test_a_fifo_made_while_a_guest_runs_ends_with_its_deadline(
    make_box: MakeBox, folder: Path
) -> None:
    """No check sees it; the worker is killed in time, and the next call has another one."""
    box = make_box(grace_ms=50)
    (folder / "inner").mkdir()
    os.mkfifo(folder / "inner" / "pipe")
    await box.start()
    attempts = Attempts(box, folder)
    started = time.monotonic()
    with pytest.raises(SandboxError) as stopped:
        await attempts(opening("inner/pipe"), limits=Limits.for_command(wall_ms=200))
    assert stopped.value.reason is Reason.TIMEOUT
    assert time.monotonic() - started < 10
    assert (await attempts(opening("own.txt"), reading(Opened(0))))[1] == b"own"


async def test_a_device_socket_or_fifo_in_a_folder_is_refused(folder: Path) -> None:
    """Before any guest sees it, with its name."""
    os.mkfifo(folder / "pipe")
    with pytest.raises(InvalidSetting, match="pipe"):
        FolderGrant(folder, "data")
    (folder / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as bound:
        before = Path.cwd()
        os.chdir(folder)
        try:
            bound.bind("sock")
        finally:
            os.chdir(before)
        with pytest.raises(InvalidSetting, match="sock"):
            FolderGrant(folder, "data")


async def test_a_command_leaves_no_descriptor_open_in_its_worker(attempts: Attempts) -> None:
    """A guest that opens files and never closes them costs the worker none."""
    steps = tuple(opening("own.txt") for _ in range(20))
    for _ in range(12):
        errnos, _ = await attempts(*steps)
        assert errnos == [SUCCESS] * 20


async def test_more_files_than_a_worker_may_open_is_the_guests_error(attempts: Attempts) -> None:
    """Descriptors run out for the guest, with an errno; the worker serves the next call."""
    errnos, _ = await attempts(*(opening("own.txt") for _ in range(200)))
    assert errnos[0] == SUCCESS
    assert errnos[-1] != SUCCESS
    assert (await attempts(opening("own.txt"), reading(Opened(0))))[1] == b"own"


def test_a_worker_always_has_room_for_its_own_files() -> None:
    """A file size of zero would break the engine itself: it cannot be asked for."""
    with pytest.raises(InvalidSetting, match="file_bytes"):
        WorkerPool(file_bytes=0)


async def test_after_all_of_it_no_thread_is_left(sandbox: Sandbox) -> None:
    """A command and its end start no thread in this process."""
    module = await sandbox.prepare(wat(COMMANDS["exit 3"]))
    await sandbox.start()
    before = threading.active_count()
    for _ in range(3):
        await sandbox.run_command(module)
    assert threading.active_count() <= before
