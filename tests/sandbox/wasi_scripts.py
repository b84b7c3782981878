"""WASI commands made of a list of calls, for tests: what a hostile program would try."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sandbox.testing import command

SUCCESS: Final = 0
BADF: Final = 8
FBIG: Final = 22
LOOP: Final = 32
NOENT: Final = 44
PERM: Final = 63
ROFS: Final = 69
NOTCAPABLE: Final = 76

CREATE: Final = 1
FOLLOW: Final = 1
READ: Final = 2
WRITE: Final = 64 | 1 << 8 | 1 << 22
"""Rights: write, allocate, set the size."""

_SIGNATURES: Final = {
    "path_open": "i32 i32 i32 i32 i32 i64 i64 i32 i32",
    "path_create_directory": "i32 i32 i32",
    "path_remove_directory": "i32 i32 i32",
    "path_filestat_get": "i32 i32 i32 i32 i32",
    "path_symlink": "i32 i32 i32 i32 i32",
    "path_readlink": "i32 i32 i32 i32 i32 i32",
    "path_link": "i32 i32 i32 i32 i32 i32 i32",
    "path_rename": "i32 i32 i32 i32 i32 i32",
    "path_unlink_file": "i32 i32 i32",
    "fd_read": "i32 i32 i32 i32",
    "fd_write": "i32 i32 i32 i32",
    "fd_pwrite": "i32 i32 i32 i64 i32",
    "fd_filestat_set_size": "i32 i64",
    "fd_allocate": "i32 i64 i64",
    "fd_close": "i32",
    "args_sizes_get": "i32 i32",
    "environ_sizes_get": "i32 i32",
    "fd_prestat_get": "i32 i32",
    "sock_accept": "i32 i32 i32",
    "sock_recv": "i32 i32 i32 i32 i32 i32",
    "sock_send": "i32 i32 i32 i32 i32",
    "sock_shutdown": "i32 i32",
}

FIRST: Final = 3
"""Descriptor of the first folder."""

SCRATCH: Final = 48
"""Where results of no interest go."""

BUFFER: Final = 0x10000
"""What is read comes here, 64 KiB at most."""

BUFFER_IOV: Final = 32

_ERRNOS: Final = 0x400
_OPENED: Final = 0x800
_TEXTS: Final = 0x1000


@dataclass(frozen=True)
class Opened:
    """The descriptor that an earlier step opened."""

    step: int


Given = int | str | Opened
Step = tuple[Given, ...]


def opening(path: str, oflags: int = 0, rights: int = READ, *, follow: bool = True) -> Step:
    """Open a path of the first folder; its descriptor is ``Opened(number of the step)``."""
    return ("path_open", FIRST, int(follow), path, oflags, rights, 0, 0, -1)


def reading(descriptor: Given) -> Step:
    """Read up to 64 KiB into the buffer."""
    return ("fd_read", descriptor, BUFFER_IOV, 1, SCRATCH)


def writing(descriptor: Given) -> Step:
    """Write the buffer's 64 KiB."""
    return ("fd_write", descriptor, BUFFER_IOV, 1, SCRATCH)


def script(*steps: Step, show: tuple[int, int] = (BUFFER, 64), times: int = 1) -> str:
    """A command that makes the calls and prints one byte of errno for each, then ``show``.

    Texts are given as pointer and length, and -1 as the place for a new descriptor. ``times``: how
    often the last step is made.
    """
    used = {"fd_write", *(str(step[0]) for step in steps)}
    imports = "".join(
        f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {_SIGNATURES[name]})'
        " (result i32)))"
        for name in sorted(used)
    )
    data, calls, at = "", "", _TEXTS
    for number, (name, *given) in enumerate(steps):
        kinds = _SIGNATURES[str(name)].split()
        numbers: list[str] = []
        for value in given:
            if isinstance(value, str):
                raw = value.encode()
                data += f'(data (i32.const {at}) "{"".join(f"{chr(92)}{b:02x}" for b in raw)}")'
                numbers += [f"(i32.const {at})", f"(i32.const {len(raw)})"]
                at += len(raw)
            elif isinstance(value, Opened):
                numbers.append(f"(i32.load (i32.const {_OPENED + 4 * value.step}))")
            else:
                kind = kinds[len(numbers)]
                place = _OPENED + 4 * number if value == -1 and kind == "i32" else value
                numbers.append(f"({kind}.const {place})")
        call = f"(i32.store8 (i32.const {_ERRNOS + number}) (call ${name} {' '.join(numbers)}))"
        if number == len(steps) - 1 and times > 1:
            call = (
                f"(loop $more {call} (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n)"
                f" (i32.const 1))) (i32.const {times}))))"
            )
        calls += call
    body = (
        f"(local $n i32) {_iov(BUFFER_IOV, BUFFER, 65536)} {calls}"
        f"{_printed(_ERRNOS, len(steps))} {_printed(*show)}"
    )
    # A descriptor that was never opened is none, and not standard input.
    data += f'(data (i32.const {_OPENED}) "{(chr(92) + "ff") * 4 * len(steps)}")'
    return command(body, imports=imports, extra=data, pages=3)


def _printed(start: int, length: int) -> str:
    """One write for each range: an engine may take the first of several only."""
    write = "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))"
    return _iov(0, start, length) + write


def _iov(place: int, start: int, length: int) -> str:
    return (
        f"(i32.store (i32.const {place}) (i32.const {start}))"
        f"(i32.store (i32.const {place + 4}) (i32.const {length}))"
    )
