"""What ``sandbox.py`` runs: guests as text, and their peers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

from sandbox.testing import agent, reply

TURNS = 20_000
"""Steps of the generator in the guest that computes."""

COMPUTE = agent(
    "(local $x i32) (local $i i32) (local.set $x (i32.const 1)) (loop $again"
    " (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 13))))"
    " (local.set $x (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 17))))"
    " (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 5))))"
    " (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))"
    f" (i32.const {TURNS})))) (i32.store (i32.const 8) (local.get $x))"
    + reply("(i32.const 8)", "(i32.const 4)")
)
"""Runs a generator of random numbers and replies with the last one."""

WASI_AGENT = agent(
    "(i64.or (i64.shl (i64.extend_i32_u (local.get $p)) (i64.const 32))"
    " (i64.extend_i32_u (local.get $n)))",
    imports='(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))',
)
"""Echoes; that it imports WASI puts it into a worker of its own."""

COMPONENT = """(component
  (core module $m
    (memory (export "memory") 1)
    (global $at (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $start i32)
      (local.set $start (i32.and (i32.add (global.get $at) (i32.const 7)) (i32.const -8)))
      (global.set $at (i32.add (local.get $start) (local.get 3)))
      (local.get $start))
    (func (export "echo") (param $p i32) (param $n i32) (result i32)
      (i32.store (i32.const 8) (local.get $p)) (i32.store (i32.const 12) (local.get $n))
      (i32.const 8)))
  (core instance $i (instantiate $m))
  (func (export "echo") (param "text" string) (result string)
    (canon lift (core func $i "echo")
      (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))"""
"""One function, from text to text."""

_EXTISM = """(module
  (import "extism:host/env" "input_length" (func $length (result i64)))
  (import "extism:host/env" "input_load_u64" (func $load (param i64) (result i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store (param i64 i64)))
  (import "extism:host/env" "output_set" (func $output (param i64 i64)))
  (memory (export "memory") 1)
  (func (export "handle") (result i32)
    (local $n i64) (local $at i64) (local $i i64)
    (local.set $n (call $length)) (local.set $at (call $alloc (local.get $n)))
    (loop $again
      (call $store (i64.add (local.get $at) (local.get $i)) (call $load (local.get $i)))
      (br_if $again (i64.lt_u (local.tee $i (i64.add (local.get $i) (i64.const 8)))
        (local.get $n))))
    (call $output (local.get $at) (local.get $n))
    (i32.const 0)))"""

Call = Callable[[bytes], bytes]


def plain_echo(data: bytes) -> bytes:
    """What the echo does, in Python: its input copied twice."""
    return bytes(bytearray(data))


def plain_compute(_data: bytes = b"") -> bytes:
    """What the guest that computes does, in Python."""
    x = 1
    for _ in range(TURNS):
        x = (x ^ x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x = (x ^ x << 5) & 0xFFFFFFFF
    return x.to_bytes(4, "little")


def extism(assemble: Callable[[str], bytes]) -> tuple[Call, Call] | None:
    """A warm and a fresh call of extism doing the same; None when it is not installed."""
    if importlib.util.find_spec("extism") is None:
        return None
    peer: Any = importlib.import_module("extism.extism")
    module = assemble(_EXTISM)
    compiled = peer.CompiledPlugin({"wasm": [{"data": module}], "memory": {"max_pages": 256}})
    warm = peer.Plugin(compiled)

    def fresh(data: bytes) -> bytes:
        return bytes(peer.Plugin(compiled).call("handle", data))

    return (lambda data: bytes(warm.call("handle", data))), fresh
