;; {{name}}: a module of the agent ABI, used as a tool: it gets its arguments as JSON in memory and
;; gives back the result as JSON. This one answers {"echo": ARGUMENTS}.
(module
  (memory (export "memory") 2 16)
  ;; 1024: the beginning of the answer; the arguments come right after it.
  (data (i32.const 1024) "{\"echo\":")

  ;; Room for n bytes at 1032 and for the closing brace; 0 when there is none.
  (func (export "alloc") (param $n i32) (result i32)
    (select (i32.const 1032) (i32.const 0)
      (i32.lt_u (local.get $n) (i32.const 130000))))

  ;; The address of the answer in the upper 32 bits, its length in the lower ones.
  (func (export "handle_message") (param $at i32) (param $n i32) (result i64)
    (i32.store8 (i32.add (local.get $at) (local.get $n)) (i32.const 0x7d)) ;; }
    (i64.or
      (i64.shl (i64.const 1024) (i64.const 32))
      (i64.extend_i32_u (i32.add (local.get $n) (i32.const 9))))))
