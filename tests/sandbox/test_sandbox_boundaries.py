"""Grants, frames, host streams, WASI poll and the worker's loop, without processes."""

from __future__ import annotations

import gc
import io
import os
import pickle
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import FolderGrant, Grants, InvalidSetting, Limits, Reason, SandboxBusy, SandboxError
from sandbox.engine import CommandResult
from sandbox.frames import BODY_BYTES, HEADER_BYTES, PREFIX, pack, unpack_header, unpack_lengths
from sandbox.testing import COMMANDS, wat
from sandbox.wasi_poll import EFAULT, EINVAL, SUCCESS, poll_oneoff
from sandbox.wasi_streams import StreamFile
from sandbox.wasmtime_engine import WasmtimeEngine
from sandbox.worker import Worker, read_frame, serve
from sandbox.worker_frames import grants_from, grants_to


class Memory:
    """A guest's memory of a few bytes."""

    def __init__(self, size: int = 4096) -> None:
        self.data = bytearray(size)

    def size(self) -> int:
        return len(self.data)

    def read(self, start: int, length: int) -> bytes:
        return bytes(self.data[start : start + length])

    def write(self, start: int, data: bytes) -> None:
        self.data[start : start + len(data)] = data


class TestGrants:
    """What may be granted."""

    def test_a_folder_is_resolved_once(self, tmp_path: Path) -> None:
        """A symlink that changes later changes nothing."""
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        assert FolderGrant(tmp_path / "link", "data").host == (tmp_path / "real").resolve()

    def test_nothing_is_granted_by_default(self) -> None:
        """No folder, no variable; folders are read-only."""
        assert not Grants()
        assert Grants(env=(("A", "1"),))

    def test_a_grant_is_read_only_by_default(self, tmp_path: Path) -> None:
        """Writing is asked for by name."""
        assert FolderGrant(tmp_path, "data").write is False

    @pytest.mark.parametrize(
        "guest", ["", "..", "a/../b", "a//b", "/a/", "./a", "a\0b", "a\\b", "x" * 256, "/.."]
    )
    def test_a_guest_path_that_climbs_or_is_unclear_is_refused(
        self, tmp_path: Path, guest: str
    ) -> None:
        """The error names the field and the value."""
        with pytest.raises(InvalidSetting) as refused:
            FolderGrant(tmp_path, guest)
        assert (refused.value.field, refused.value.value) == ("guest", guest)

    @pytest.mark.parametrize("guest", ["data", "/data", "/", ".", "a/b"])
    def test_clear_guest_paths_are_taken(self, tmp_path: Path, guest: str) -> None:
        """Relative, absolute and nested names."""
        assert FolderGrant(tmp_path, guest).guest == guest

    def test_a_missing_folder_a_file_and_special_files_are_refused(self, tmp_path: Path) -> None:
        """Only folders without FIFOs, sockets or devices; a dangling symlink is harmless."""
        (tmp_path / "file").write_text("x")
        (tmp_path / "dangling").symlink_to("nowhere")
        FolderGrant(tmp_path, "data")
        for host in (tmp_path / "missing", tmp_path / "file"):
            with pytest.raises(InvalidSetting, match="folder"):
                FolderGrant(host, "data")
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InvalidSetting, match="FIFO"):
            FolderGrant(tmp_path, "data")

    def test_grants_are_consistent(self, tmp_path: Path) -> None:
        """Each guest path once, variables with a name, at most 32 folders."""
        one = FolderGrant(tmp_path, "data")
        with pytest.raises(InvalidSetting, match="once"):
            Grants(folders=(one, one))
        with pytest.raises(InvalidSetting, match="32"):
            Grants(folders=tuple(FolderGrant(tmp_path, f"d{n}") for n in range(33)))
        for name in ("", "A=B", "A\0"):
            with pytest.raises(InvalidSetting):
                Grants(env=((name, "x"),))

    def test_grants_survive_the_way_to_a_worker(self, tmp_path: Path) -> None:
        """A header holds all of a grant."""
        grants = Grants((FolderGrant(tmp_path, "data", write=True),), (("A", "1"),))
        assert grants_from(unpack_header(read(pack(grants_to(grants)))[0])) == grants


def read(frame: bytes) -> tuple[bytes, bytes]:
    """Header and body of a frame."""
    header, body = unpack_lengths(frame[: PREFIX.size])
    rest = frame[PREFIX.size :]
    assert len(rest) == header + body
    return rest[:header], rest[header:]


class TestFrames:
    """Frames are bounded and hold data only."""

    @given(
        st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)),
        st.binary(max_size=50),
    )
    def test_what_is_packed_is_read(self, header: dict[str, object], body: bytes) -> None:
        """Any header and body survive."""
        assert read_frame(io.BytesIO(pack(header, body))) == (header, body)

    def test_lengths_are_checked_before_reading(self) -> None:
        """A frame over its limits is refused by its first eight bytes."""
        for lengths in ((HEADER_BYTES + 1, 0), (0, BODY_BYTES + 1)):
            with pytest.raises(SandboxError) as refused:
                unpack_lengths(PREFIX.pack(*lengths))
            assert refused.value.reason is Reason.MESSAGE_TOO_LARGE

    @pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"1"])
    def test_a_header_is_a_json_object(self, data: bytes) -> None:
        """Anything else is a host_error."""
        with pytest.raises(SandboxError) as refused:
            unpack_header(data)
        assert refused.value.reason is Reason.HOST_ERROR

    def test_the_end_of_input_is_the_end(self) -> None:
        """Also in the middle of a frame."""
        frame = pack({"a": 1}, b"body")
        for cut in range(len(frame)):
            assert read_frame(io.BytesIO(frame[:cut])) is None


class TestWorkerLoop:
    """The worker's side, in this process."""

    def test_requests_are_answered_in_order(self, tmp_path: Path) -> None:
        """Ready first, then one answer for each request, until the input ends."""
        engine = WasmtimeEngine()
        path = tmp_path / "cat"
        path.write_bytes(engine.compile(wat(COMMANDS["cat"])).code)
        request = {
            "op": "command",
            "artifact": str(path),
            "limits": Limits().as_dict(),
            "args": [],
            **grants_to(Grants()),
        }
        reading, writing = os.pipe()
        with open(reading, "rb") as answers, open(writing, "wb") as sink:
            serve(engine, io.BytesIO(pack(request, b"one") + pack(request, b"two")), sink)
            assert read_frame(answers) == ({"ready": True}, b"")
            for expected in (b"one", b"two"):
                frame = read_frame(answers)
                assert frame is not None
                cut = frame[0]["parts"][0]
                assert frame[1][:cut] == expected

    def test_every_request_gets_an_answer(self) -> None:
        """Also one that makes no sense, and one whose guest is stopped."""

        class Stopping:
            def run_command(self, *_: object, **__: object) -> CommandResult:
                raise SandboxError(Reason.TRAP, "stopped", trap="unreachable")

        whole = {
            "op": "command",
            "artifact": "x",
            "limits": {},
            "args": [],
            "folders": [],
            "env": [],
        }
        for request, reason in (({}, "host_error"), (whole, "trap")):
            sent: list[bytes] = []
            worker = Worker(Stopping(), sent.append)  # type: ignore[arg-type]  # one method
            worker.run(request, b"")
            assert unpack_header(read(sent[0])[0])["reason"] == reason


class TestPoll:
    """poll_oneoff waits, but never beyond the deadline."""

    def subscribe(self, memory: Memory, index: int, tag: int, clock: int = 1, **of: int) -> None:
        """Write a subscription: relative timeout in ns unless ``absolute``."""
        flags = of.get("absolute", 0)
        timeout = of.get("timeout", 0)
        raw = struct.pack("<QB7xI4xQQH6x", 77 + index, tag, clock, timeout, 0, flags)
        memory.write(index * 48, raw)

    def poll(self, memory: Memory, count: int, wall_s: float = 10) -> tuple[int | None, float]:
        """The errno and how long it slept."""
        slept: list[float] = []
        deadline = time.monotonic() + wall_s
        errno = poll_oneoff(memory, 0, 1024, count, 2048, deadline=deadline, sleep=slept.append)
        return errno, sum(slept)

    def events(self, memory: Memory) -> list[int]:
        """User data of the events written."""
        (count,) = struct.unpack_from("<I", memory.data, 2048)
        return [struct.unpack_from("<Q", memory.data, 1024 + 32 * n)[0] for n in range(count)]

    def test_the_nearest_clock_comes_first(self) -> None:
        """Of several clocks the shortest is waited for."""
        memory = Memory()
        for n, timeout in enumerate((3_000_000_000, 2_000_000_000)):
            self.subscribe(memory, n, 0, timeout=timeout)
        assert self.poll(memory, 2) == (SUCCESS, 2.0)
        assert self.events(memory) == [78]

    def test_a_stream_is_ready_at_once(self) -> None:
        """With a stream among the subscriptions nothing is waited for."""
        memory = Memory()
        self.subscribe(memory, 0, 0, timeout=10**12)
        self.subscribe(memory, 1, 1)
        assert self.poll(memory, 2) == (SUCCESS, 0)
        assert self.events(memory) == [78]

    def test_an_absolute_time_in_the_past_is_now(self) -> None:
        """Absolute times are on their own clock."""
        for clock in (0, 1):
            memory = Memory()
            self.subscribe(memory, 0, 0, clock, timeout=1, absolute=1)
            assert self.poll(memory, 1) == (SUCCESS, 0)

    def test_the_deadline_ends_the_wait(self) -> None:
        """A sleep beyond it is cut there, and reported."""
        memory = Memory()
        self.subscribe(memory, 0, 0, timeout=3_600_000_000_000)
        errno, slept = self.poll(memory, 1, wall_s=0.5)
        assert errno is None
        assert 0 < slept <= 0.5

    def test_bad_ranges_are_errors_of_the_guest(self) -> None:
        """Counts and pointers outside what is possible get an errno."""
        assert self.poll(Memory(), 0)[0] == EINVAL
        assert self.poll(Memory(), 65)[0] == EINVAL
        assert self.poll(Memory(1030), 1)[0] == EFAULT


class TestStreams:
    """Files in memory."""

    def test_a_stream_is_read_by_path(self) -> None:
        """What was put in can be read by whoever opens the path; then it is gone."""
        with StreamFile(b"input") as stream:
            assert Path(stream.path).read_bytes() == b"input"
            assert (stream.size(), stream.read(2), stream.read(99)) == (5, b"in", b"input")
            assert not stream.longer_than(5)()
            assert stream.longer_than(4)()

    def test_a_stream_is_used_again_empty(self) -> None:
        """Nothing of one call is there for the next; one that is forgotten is closed."""
        stream = StreamFile(b"of the first call")
        path = stream.path
        stream.clear()
        assert (stream.size(), stream.read(99), Path(path).read_bytes()) == (0, b"", b"")
        with open(path, "r+b", buffering=0) as other:
            other.write(b"second")
        assert stream.read(99) == b"second"
        del stream
        gc.collect()
        assert not Path(path).exists()

    def test_without_memory_files_a_temporary_one_serves(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same on systems that have none; the file is removed."""
        monkeypatch.delattr(os, "memfd_create")
        with StreamFile(b"input") as stream:
            assert Path(stream.path).read_bytes() == b"input"
        assert not Path(stream.path).exists()


def test_errors_survive_pickling() -> None:
    """Kind, reason, message and details come back."""
    for kind in (SandboxError, SandboxBusy):
        error = kind(Reason.TRAP, "it trapped", trap="unreachable")
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind
        assert (again.reason, again.details, str(again)) == (
            error.reason,
            error.details,
            str(error),
        )
