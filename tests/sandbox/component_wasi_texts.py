"""Components as text that use WASI 0.2."""

from __future__ import annotations

from component_texts import MEMORY

_CANON = '(memory (core memory $mem "memory")) (realloc (core func $mem "realloc"))'


def _call(imports: str, lowered: str, code: str, names: str) -> str:
    """``call: func() -> u32`` with these imports, lowered as ``$f0``, ``$f1`` …"""
    given = "".join(f'(export "{name}" (func $f{at}))' for at, name in enumerate(names.split(",")))
    return f"""(component
      {imports}
      (core module $memory {MEMORY})
      (core instance $mem (instantiate $memory))
      {lowered}
      (core instance $given {given})
      (core module $m
        (import "mem" "memory" (memory 2))
        {code})
      (core instance $i (instantiate $m
        (with "mem" (instance $mem)) (with "wasi" (instance $given))))
      (func (export "call") (result u32) (canon lift (core func $i "call"))))"""


_POLL = """
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
"""

SLEEPS = _call(
    _POLL
    + """
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (export "pollable" (type $p (eq $pollable)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
""",
    """
  (core func $f0 (canon lower (func $clock "subscribe-duration")))
  (core func $f1 (canon lower (func $poll "[method]pollable.block")))
""",
    """
  (import "wasi" "duration" (func $duration (param i64) (result i32)))
  (import "wasi" "block" (func $block (param i32)))
  (func (export "call") (result i32)
    (call $block (call $duration (i64.const 3600000000000)))
    (i32.const 0))
""",
    "duration,block",
)
"""Sleeps for an hour inside the host, where neither fuel nor epoch reaches."""

RANDOM = _call(
    """
  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
""",
    f'(core func $f0 (canon lower (func $random "get-random-bytes") {_CANON}))',
    """
  (import "wasi" "bytes" (func $bytes (param i64 i32)))
  (func (export "call") (result i32)
    (call $bytes (i64.const LENGTH) (i32.const 64))
    (i32.load (i32.const 68)))
""",
    "bytes",
)
"""Asks the host for LENGTH random bytes and tells how many it got."""

ENVIRONMENT = _call(
    """
  (import "wasi:cli/environment@0.2.0" (instance $cli
    (export "get-environment" (func (result (list (tuple string string)))))))
  (import "wasi:filesystem/types@0.2.0" (instance $types
    (export "descriptor" (type (sub resource)))))
  (alias export $types "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (export "descriptor" (type $d (eq $descriptor)))
    (export "get-directories" (func (result (list (tuple (own $d) string)))))))
""",
    f"""
  (core func $f0 (canon lower (func $cli "get-environment") {_CANON}))
  (core func $f1 (canon lower (func $preopens "get-directories") {_CANON}))
""",
    """
  (import "wasi" "environment" (func $environment (param i32)))
  (import "wasi" "directories" (func $directories (param i32)))
  (func (export "call") (result i32)
    (call $environment (i32.const 64))
    (call $directories (i32.const 72))
    (i32.add (i32.mul (i32.load (i32.const 68)) (i32.const 100)) (i32.load (i32.const 76))))
""",
    "environment,directories",
)
"""Gives a hundred times the number of its variables plus the number of its folders."""

PRINTS = _call(
    """
  (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "output-stream" (type $o (sub resource)))
    (export "error" (type $e (eq $error)))
    (type $s (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $x (eq $s)))
    (export "[method]output-stream.blocking-write-and-flush" (func
      (param "self" (borrow $o)) (param "contents" (list u8)) (result (result (error $x)))))))
  (alias export $streams "output-stream" (type $stream))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (export "output-stream" (type $o (eq $stream)))
    (export "get-stdout" (func (result (own $o))))))
  (import "wasi:cli/stderr@0.2.0" (instance $stderr
    (export "output-stream" (type $o (eq $stream)))
    (export "get-stderr" (func (result (own $o))))))
""",
    f"""
  (core func $f0 (canon lower (func $stdout "get-stdout")))
  (core func $f1 (canon lower (func $stderr "get-stderr")))
  (core func $f2 (canon lower
    (func $streams "[method]output-stream.blocking-write-and-flush") {_CANON}))
""",
    """
  (import "wasi" "stdout" (func $stdout (result i32)))
  (import "wasi" "stderr" (func $stderr (result i32)))
  (import "wasi" "write" (func $write (param i32 i32 i32 i32)))
  (data (i32.const 1024) "out err ")
  (func (export "call") (result i32) (local $out i32) (local $left i32)
    (call $write (call $stderr) (i32.const 1028) (i32.const 4) (i32.const 64))
    (local.set $out (call $stdout))
    (local.set $left (i32.const TIMES))
    (loop $more
      (call $write (local.get $out) (i32.const 1024) (i32.const 4) (i32.const 64))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $more (local.get $left)))
    (i32.const 0))
""",
    "stdout,stderr,write",
)
"""Prints ``err`` to one stream and TIMES ``out`` to the other."""

_ERRORS = """"unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
  "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit"
  "address-not-bindable" "address-in-use" "remote-unreachable" "connection-refused"
  "connection-reset" "connection-aborted" "datagram-too-large" "name-unresolvable"
  "temporary-resolver-failure" "permanent-resolver-failure" """

SOCKETS = _call(
    f"""
  (import "wasi:sockets/network@0.2.0" (instance $network
    (export "network" (type (sub resource)))
    (type $e (enum {_ERRORS})) (export "error-code" (type (eq $e)))
    (type $f (enum "ipv4" "ipv6")) (export "ip-address-family" (type (eq $f)))
    (type $a4 (tuple u8 u8 u8 u8)) (export "ipv4-address" (type $xa4 (eq $a4)))
    (type $a6 (tuple u16 u16 u16 u16 u16 u16 u16 u16))
    (export "ipv6-address" (type $xa6 (eq $a6)))
    (type $s4 (record (field "port" u16) (field "address" $xa4)))
    (export "ipv4-socket-address" (type $xs4 (eq $s4)))
    (type $s6 (record (field "port" u16) (field "flow-info" u32) (field "address" $xa6)
      (field "scope-id" u32)))
    (export "ipv6-socket-address" (type $xs6 (eq $s6)))
    (type $s (variant (case "ipv4" $xs4) (case "ipv6" $xs6)))
    (export "ip-socket-address" (type (eq $s)))))
  (alias export $network "network" (type $net))
  (alias export $network "error-code" (type $error))
  (alias export $network "ip-address-family" (type $family))
  (alias export $network "ip-socket-address" (type $address))
  (import "wasi:sockets/instance-network@0.2.0" (instance $instance
    (export "network" (type $n (eq $net)))
    (export "instance-network" (func (result (own $n))))))
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp
    (export "tcp-socket" (type $t (sub resource)))
    (export "network" (type $n (eq $net)))
    (export "error-code" (type $e (eq $error)))
    (export "ip-socket-address" (type $a (eq $address)))
    (export "[method]tcp-socket.start-connect" (func (param "self" (borrow $t))
      (param "network" (borrow $n)) (param "remote-address" $a) (result (result (error $e)))))))
  (alias export $tcp "tcp-socket" (type $socket))
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
    (export "tcp-socket" (type $t (eq $socket)))
    (export "error-code" (type $e (eq $error)))
    (export "ip-address-family" (type $f (eq $family)))
    (export "create-tcp-socket" (func (param "address-family" $f)
      (result (result (own $t) (error $e)))))))
""",
    f"""
  (core func $f0 (canon lower (func $instance "instance-network")))
  (core func $f1 (canon lower (func $create "create-tcp-socket") {_CANON}))
  (core func $f2 (canon lower (func $tcp "[method]tcp-socket.start-connect") {_CANON}))
""",
    """
  (import "wasi" "network" (func $network (result i32)))
  (import "wasi" "create" (func $create (param i32 i32)))
  (import "wasi" "connect" (func $connect (param
    i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
  (func (export "call") (result i32)
    (call $create (i32.const 0) (i32.const 64))
    (if (i32.load8_u (i32.const 64))
      (then (return (i32.add (i32.const 1000) (i32.load8_u (i32.const 68))))))
    (call $connect (i32.load (i32.const 68)) (call $network)
      (i32.const 0) (i32.const PORT) (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 96))
    (if (i32.eqz (i32.load8_u (i32.const 96))) (then (return (i32.const 2000))))
    (i32.load8_u (i32.const 97)))
""",
    "network,create,connect",
)
"""Connects to PORT of this machine. Gives the error, from 1000 on that of making a socket; 1 is
access-denied. 2000: it connects."""
