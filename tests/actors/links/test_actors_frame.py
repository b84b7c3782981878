"""Laws of frames: however the bytes are cut, the same frames; garbage is a FrameError."""

from __future__ import annotations

import contextlib
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import actors.links.frame
from actors.errors import FrameError
from actors.links.frame import Frame, FrameDecoder, encode_frame

FRAMES = st.lists(
    st.builds(
        Frame,
        st.integers(0, 255),
        st.integers(0, 2**63),
        st.binary(max_size=300),
        st.integers(0, 2**31),
    ),
    max_size=12,
)


@given(FRAMES, st.data())
def test_any_split_decodes_to_the_same_frames(frames: list[Frame], data: st.DataObject) -> None:
    """Frames come out as they went in, wherever the stream is cut."""
    stream = b"".join(encode_frame(*frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    decoder = FrameDecoder()
    out: list[Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        out += decoder.feed(stream[start:end])
    decoder.end()
    assert out == frames


@given(FRAMES)
def test_byte_by_byte(frames: list[Frame]) -> None:
    """A stream that comes byte by byte gives each frame with its last byte."""
    decoder = FrameDecoder()
    for frame in frames:
        encoded = encode_frame(*frame)
        for byte in encoded[:-1]:
            assert decoder.feed(bytes([byte])) == []
        assert decoder.feed(encoded[-1:]) == [frame]


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_garbage_is_a_frame_error_or_nothing(chunks: list[bytes]) -> None:
    """Whatever bytes come, the decoder gives frames or raises FrameError, never anything else."""
    decoder = FrameDecoder(max_bytes=1_000)
    with contextlib.suppress(FrameError):
        for chunk in chunks:
            for frame in decoder.feed(chunk):
                assert isinstance(frame, Frame)
        decoder.end()


@given(st.binary(max_size=60))
def test_a_garbage_body_is_malformed_or_a_frame(body: bytes) -> None:
    """A body of the announced length that is no frame is malformed."""
    data = struct.pack(">I", len(body)) + body
    try:
        frame = Frame(*msgspec.msgpack.decode(body, type=tuple[int, int, bytes]))
    except msgspec.MsgspecError:
        with pytest.raises(FrameError) as caught:
            FrameDecoder().feed(data)
        assert (caught.value.code, caught.value.reason) == ("bad_frame", "malformed")
    else:
        assert FrameDecoder().feed(data) == [frame]


def test_a_too_long_frame_is_refused_by_its_length() -> None:
    """The announced length alone is enough to refuse; the body is not waited for."""
    with pytest.raises(FrameError, match="1,001 bytes announced, at most 1,000") as caught:
        FrameDecoder(max_bytes=1_000).feed(struct.pack(">I", 1_001))
    assert caught.value.reason == "too_long"


def test_a_too_long_payload_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """encode_frame refuses what its reader would refuse."""
    monkeypatch.setattr(actors.links.frame, "MAX_FRAME", 100)
    assert encode_frame(1, 1, bytes(80))
    with pytest.raises(FrameError) as caught:
        encode_frame(1, 1, bytes(101))
    assert caught.value.reason == "too_long"


@pytest.mark.parametrize("length", [1, 3, 4, 6])
def test_a_stream_that_ends_inside_a_frame_is_truncated(length: int) -> None:
    """The end of the stream inside a length or a body is told from a clean end."""
    decoder = FrameDecoder()
    assert decoder.feed(encode_frame(1, 1, b"xyz")[:length]) == []
    with pytest.raises(FrameError) as caught:
        decoder.end()
    assert caught.value.reason == "truncated"


def test_frames_before_the_garbage_do_not_come_twice() -> None:
    """After an error the decoder has let go of what it has read."""
    decoder = FrameDecoder()
    body = msgspec.msgpack.encode("no frame")
    with pytest.raises(FrameError):
        decoder.feed(encode_frame(1, 1, b"a") + struct.pack(">I", len(body)) + body)
    with pytest.raises(FrameError):
        decoder.feed(b"")
