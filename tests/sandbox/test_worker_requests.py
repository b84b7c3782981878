"""Headers that come again are encoded once and read once, and nothing is kept that must not be."""

from __future__ import annotations

import gc
import io
from pathlib import Path

import pytest

from sandbox import FolderGrant, Grants, InvalidSetting, Limits
from sandbox.frames import Header
from sandbox.worker import read_frame, settle
from sandbox.worker_requests import (
    KEPT,
    KEPT_BYTES,
    Asked,
    KnownHeaders,
    pack_request,
    settings_of,
)

ASKED: Asked = (("op", "command"), ("args", ("-a",)))
ARTIFACT = Path("/cache/one")
LIMITS = Limits.for_command()


def read(known: KnownHeaders, frame: bytes) -> tuple[Header, bytes]:
    """What a worker reads of a frame."""
    got = read_frame(io.BytesIO(frame), known.header)
    assert got is not None
    return got


def test_a_request_arrives_with_its_settings() -> None:
    """What is asked, with what it is run, and the body."""
    limits = Limits(fuel=7, wall_ms=9)
    header, body = read(KnownHeaders(), pack_request(ARTIFACT, limits, Grants(), ASKED, b"input"))
    assert (header["op"], list(header["args"]), body) == ("command", ["-a"], b"input")
    given = settings_of(header)
    assert (given.artifact, given.limits, given.grants) == (ARTIFACT, limits, Grants())


def test_the_same_request_is_made_once() -> None:
    """The second time its settings are the very same objects; the body is its own."""
    known = KnownHeaders()
    first, _ = read(known, pack_request(ARTIFACT, LIMITS, Grants(), ASKED, b"1"))
    settings = settings_of(first)
    again, body = read(known, pack_request(ARTIFACT, LIMITS, Grants(), ASKED, b"2"))
    assert settings_of(again) is settings
    assert (body, len(known)) == (b"2", 1)
    for other in (
        pack_request(Path("/cache/two"), LIMITS, Grants(), ASKED),
        pack_request(ARTIFACT, Limits.for_command(fuel=1), Grants(), ASKED),
        pack_request(ARTIFACT, LIMITS, Grants(), (("op", "command"), ("args", ()))),
    ):
        header, _ = read(known, other)
        assert header != again
        assert settings_of(header) is not settings


def test_folders_are_looked_at_each_time(tmp_path: Path) -> None:
    """One that is gone is refused, though the same bytes were read before."""
    folder = tmp_path / "data"
    folder.mkdir()
    grants, known = Grants(folders=(FolderGrant(folder, "data"),)), KnownHeaders()
    frame = pack_request(ARTIFACT, LIMITS, grants, ASKED)
    assert settings_of(read(known, frame)[0]).grants == grants
    folder.rmdir()
    with pytest.raises(InvalidSetting, match="an existing folder"):
        settings_of(read(known, frame)[0])
    assert len(known) == 0


def test_variables_are_not_kept() -> None:
    """They may be secrets of one caller."""
    grants, known = Grants(env=(("TOKEN", "secret"),)), KnownHeaders()
    header, _ = read(known, pack_request(ARTIFACT, LIMITS, grants, ASKED))
    assert settings_of(header).grants == grants
    assert len(known) == 0


def test_what_is_kept_is_bounded() -> None:
    """By number, and long headers are not kept."""
    known = KnownHeaders()
    long: Asked = (("op", "command"), ("args", ("x" * (KEPT_BYTES + 1),)))
    header, _ = read(known, pack_request(ARTIFACT, LIMITS, Grants(), long))
    assert settings_of(header).limits == LIMITS
    assert len(known) == 0
    for number in range(KEPT + 10):
        read(known, pack_request(Path(f"/cache/{number}"), LIMITS, Grants(), ASKED))
    assert len(known) == KEPT


def test_other_frames_are_not_kept() -> None:
    """Answers and closes have no settings."""
    known = KnownHeaders()
    assert known.header(b'{"op":"answer","absent":true}') == {"op": "answer", "absent": True}
    assert len(known) == 0


def test_usual_limits_are_made_once_and_others_are_checked() -> None:
    """What differs from the usual ones is as any other."""
    assert Limits.for_command() is Limits.for_command()
    assert Limits.for_component() is Limits.for_component()
    assert Limits.for_component().table_elements == 50_000
    assert Limits.for_component(fuel=5).table_elements == 50_000
    assert Limits.for_command(wall_ms=6).wall_ms == 6
    with pytest.raises(InvalidSetting, match="fuel"):
        Limits.for_command(fuel=0)


def test_the_collector_need_not_look_at_what_a_worker_loaded() -> None:
    """Calls leave little to find, and a full collection would be felt by one of them."""
    try:
        settle()
        assert gc.get_freeze_count() > 10_000
        assert len(gc.get_objects()) < gc.get_freeze_count() / 10
    finally:
        gc.unfreeze()
