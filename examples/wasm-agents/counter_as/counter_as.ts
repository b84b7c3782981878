// An agent in AssemblyScript: counts the messages it gets, also over restarts of the node. Agent
// ABI v1. caxton tool build examples/wasm-agents/counter_as

@external("caxton", "log")
declare function log(level: u32, text: usize, length: i32): void;
@external("caxton", "kv_get")
declare function kv_get(key: usize, length: i32): i32;
@external("caxton", "kv_put")
declare function kv_put(key: usize, length: i32, value: usize, size: i32): i32;
@external("caxton", "take")
declare function take(room: usize, size: i32): i32;

const KEY = String.UTF8.encode("count");

// What the host reads or writes must stay where it is until the next message.
let room: ArrayBuffer = new ArrayBuffer(0);
let reply: ArrayBuffer = new ArrayBuffer(0);

// Room for one message; there is never a second one at the same time.
export function alloc(length: u32): usize {
  room = new ArrayBuffer(length);
  return changetype<usize>(room);
}

// The message is JSON, of which this agent needs nothing. The result is the address of the reply
// in the upper 32 bits and its length in the lower ones.
export function handle_message(message: usize, length: u32): u64 {
  const count = stored() + 1;
  const value = String.UTF8.encode(count.toString());
  kv_put(changetype<usize>(KEY), KEY.byteLength, changetype<usize>(value), value.byteLength);
  reply = String.UTF8.encode(`{"performative":"inform","content":"messages so far: ${count}"}`);
  return ((changetype<usize>(reply) as u64) << 32) | (reply.byteLength as u64);
}

function stored(): u64 {
  const found = kv_get(changetype<usize>(KEY), KEY.byteLength);
  if (found == -2) {
    const text = String.UTF8.encode("no key-value store: grant kv in the agent file");
    log(2, changetype<usize>(text), text.byteLength);
  }
  if (found < 0) return 0; // -1 says that there is no such key
  const digits = new ArrayBuffer(found);
  take(changetype<usize>(digits), found);
  return U64.parseInt(String.UTF8.decode(digits));
}
