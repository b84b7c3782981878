//! An agent in Rust: counts the messages it gets, also over restarts of the node. Agent ABI v1.
//! caxton tool build examples/wasm-agents/counter_rust

#[link(wasm_import_module = "caxton")]
extern "C" {
    fn log(level: u32, text: *const u8, length: usize);
    fn kv_get(key: *const u8, length: usize) -> i32;
    fn kv_put(key: *const u8, length: usize, value: *const u8, size: usize) -> i32;
    fn take(room: *mut u8, size: usize) -> i32;
}

const KEY: &str = "count";

/// The bytes of the message and of the reply; the next message takes their place.
static mut MESSAGE: Vec<u8> = Vec::new();
static mut REPLY: String = String::new();

/// Room for one message; there is never a second one at the same time.
#[no_mangle]
pub extern "C" fn alloc(length: usize) -> *mut u8 {
    let mut room = Vec::with_capacity(length.max(1));
    let start = room.as_mut_ptr();
    unsafe { MESSAGE = room };
    start
}

/// The message is JSON, of which this agent needs nothing. The result is the address of the reply
/// in the upper 32 bits and its length in the lower ones.
#[no_mangle]
pub extern "C" fn handle_message(_message: *const u8, _length: usize) -> u64 {
    let count = stored() + 1;
    let value = count.to_string();
    unsafe { kv_put(KEY.as_ptr(), KEY.len(), value.as_ptr(), value.len()) };
    let text = format!(
        "{{\"performative\":\"inform\",\"content\":\"messages so far: {}\"}}",
        count
    );
    let packed = ((text.as_ptr() as u64) << 32) | text.len() as u64;
    unsafe { REPLY = text };
    packed
}

fn stored() -> u64 {
    let found = unsafe { kv_get(KEY.as_ptr(), KEY.len()) };
    if found == -2 {
        let text = "no key-value store: grant kv in the agent file";
        unsafe { log(2, text.as_ptr(), text.len()) };
    }
    if found < 0 {
        return 0; // -1 says that there is no such key
    }
    let mut digits = vec![0u8; found as usize];
    unsafe { take(digits.as_mut_ptr(), digits.len()) };
    String::from_utf8(digits).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}
