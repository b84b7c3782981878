"""What a pool and its workers say to each other: all of it arrives, nonsense is one error."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sandbox import FolderGrant, Grants, Reason, SandboxError
from sandbox.engine import CommandResult, GuestReply, LogLine
from sandbox.frames import unpack_header
from sandbox.services.request import Refusal, ServiceError
from sandbox.worker import Frame, read_frame
from sandbox.worker_frames import (
    command_result,
    failure,
    grants_from,
    grants_to,
    guest_reply,
    pack_answer,
    pack_command_result,
    pack_reply,
    pack_service_error,
)

BYTES = st.binary(max_size=40)
LOGS = st.lists(st.builds(LogLine, st.integers(0, 2**32 - 1), st.text(max_size=9), st.booleans()),
                max_size=3).map(tuple)  # fmt: skip
WRITTEN = st.dictionaries(st.text(min_size=1, max_size=9).map(str.encode), st.none() | BYTES,
                          max_size=3)  # fmt: skip
WALL = st.floats(0, 1e6)
FUEL = st.integers(0, 10**12)
COUNT = st.integers(0, 10_000)

RESULTS = st.builds(
    CommandResult, BYTES, BYTES, st.integers(0, 255), FUEL, WALL, LOGS, COUNT, WRITTEN, COUNT, COUNT
)
REPLIES = st.builds(
    GuestReply,
    BYTES,
    st.lists(BYTES, max_size=4).map(tuple),
    LOGS,
    COUNT,
    FUEL,
    WALL,
    WRITTEN,
    COUNT,
    COUNT,
)


def read(frame: bytes) -> Frame:
    """The frame as the other side reads it."""
    got = read_frame(io.BytesIO(frame))
    assert got is not None
    return got


@given(RESULTS)
def test_a_commands_result_arrives(result: CommandResult) -> None:
    """Every field, however many lines and keys."""
    assert command_result(*read(pack_command_result(result))) == result


@given(REPLIES)
def test_an_agents_reply_arrives(reply: GuestReply) -> None:
    """Every field, however many messages it sent."""
    assert guest_reply(*read(pack_reply(reply))) == reply


@given(st.none() | BYTES)
def test_an_answer_arrives(answer: bytes | None) -> None:
    """Nothing is another answer than an empty one."""
    header, body = read(pack_answer(answer))
    assert header == {"op": "answer", "absent": answer is None}
    assert body == (answer or b"")


def test_a_refusal_arrives_at_a_bounded_length() -> None:
    """Code and message; a long message is cut."""
    header, body = read(pack_service_error(ServiceError(Refusal.TIMEOUT, "x" * 9_000)))
    assert (header["code"], len(header["message"]), body) == ("timeout", 2_000, b"")


def test_folders_and_variables_arrive_and_are_checked_again(tmp_path: Path) -> None:
    """What the parent keeps for itself is not told; a folder that changed is refused there."""
    grants = Grants(
        folders=(FolderGrant(tmp_path, "data", write=True),), env=(("A", "ä"),), kv="secret-space"
    )
    header = json.loads(json.dumps(grants_to(grants)))
    assert "secret-space" not in json.dumps(header)
    got = grants_from(header)
    assert (got.folders, got.env, got.kv) == (grants.folders, grants.env, "")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="FIFO"):
        grants_from(header)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                               max_size=3),
    max_leaves=6,
)  # fmt: skip
NUMBERS = ["exit_code", "fuel_used", "wall_ms", "logs_dropped"]
NAMES = [*NUMBERS, "parts", "reason", "message", "details"]
PARTS = st.lists(st.integers(-3, 9), max_size=4)
HEADERS = st.dictionaries(st.sampled_from(NAMES), JSON | PARTS, max_size=8)
SIDES = JSON.map(lambda value: json.dumps(value).encode()) | st.builds(
    lambda logs, written: json.dumps({"logs": logs, "written": written}).encode(), JSON, JSON
)


@settings(max_examples=300)
@given(HEADERS, BYTES | SIDES, st.booleans(), JSON)
@example({}, b'{"logs": [], "written": [[1, null]]}', True, 0)
@example({}, b'{"logs": [[0, "text"]], "written": []}', True, 0)
@example({}, b'{"logs": [], "written": [["key", "no base64"]]}', True, 0)
@example({}, b"[" * 100_000, True, 0)
@example({}, b"", True, float("inf"))
@example({"reason": "trap", "message": "", "details": {"reason": 1}}, b"", False, 0)
@example({"reason": [], "message": "", "details": {}}, b"", False, 0)
def test_nonsense_of_a_worker_is_one_error(
    header: dict[str, Any], body: bytes, whole: bool, number: object
) -> None:
    """A worker that its guest took over cannot make its parent fail in another way."""
    if whole:
        header = {**dict.fromkeys(NUMBERS, 0), "logs_dropped": number, "parts": [0, 0, len(body)]}
    for reader in (command_result, guest_reply):
        try:
            got = reader(header, body)
        except SandboxError as error:
            reason = error.reason
        else:
            assert isinstance(got, CommandResult | GuestReply)
            continue
        assert reason is Reason.KILLED
    told = failure(header)
    assert told is None or isinstance(told.reason, Reason)
    assert (told is None) == ("reason" not in header)


def test_a_header_nested_without_end_is_refused() -> None:
    """Like any other header that is no JSON object."""
    with pytest.raises(SandboxError, match="not JSON") as refused:
        unpack_header(b"[" * 200_000)
    assert refused.value.reason is Reason.HOST_ERROR
