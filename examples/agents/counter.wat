;; An agent in WebAssembly text: counts messages. Agent ABI v1.
;;
;;   alloc(n)               gives room for a message of n bytes
;;   handle_message(p, n)   gets the message as JSON at p, gives (start << 32 | length) of its answer
;;
;; Build:  python -c "import wasmtime, pathlib as p; p.Path('counter.wasm').write_bytes(wasmtime.wat2wasm(p.Path('counter.wat').read_text()))"
(module
  (memory (export "memory") 4 16)
  ;; 128.. the answer, its first part fixed; 1024.. room for the message
  (global $count (mut i32) (i32.const 0))
  (data (i32.const 128) "{\"performative\":\"inform\",\"content\":\"messages so far: ")

  ;; One message at a time: it always lies at 1024. Grows the memory for a long one.
  (func (export "alloc") (param $n i32) (result i32)
    (local $pages i32)
    (local.set $pages
      (i32.sub
        (i32.div_u (i32.add (local.get $n) (i32.const 66559)) (i32.const 65536))
        (memory.size)))
    (if (i32.gt_s (local.get $pages) (i32.const 0))
      (then
        (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1))
          (then (return (i32.const 0))))))
    (i32.const 1024))

  (func (export "handle_message") (param $p i32) (param $n i32) (result i64)
    (local $value i32) (local $at i32) (local $end i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    ;; Count the digits, so that they end where the closing quote goes.
    (local.set $end (i32.const 181))
    (local.set $value (global.get $count))
    (loop $digits
      (local.set $end (i32.add (local.get $end) (i32.const 1)))
      (local.set $value (i32.div_u (local.get $value) (i32.const 10)))
      (br_if $digits (local.get $value)))
    (local.set $at (local.get $end))
    (local.set $value (global.get $count))
    (loop $write
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10))))
      (local.set $value (i32.div_u (local.get $value) (i32.const 10)))
      (br_if $write (local.get $value)))
    (i32.store16 (local.get $end) (i32.const 0x7d22)) ;; "}
    (i64.or
      (i64.shl (i64.const 128) (i64.const 32))
      (i64.extend_i32_u (i32.sub (i32.add (local.get $end) (i32.const 2)) (i32.const 128))))))
