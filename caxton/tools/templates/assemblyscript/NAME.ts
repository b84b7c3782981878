// {{name}}: a module of the agent ABI, used as a tool: it gets its arguments as JSON in memory and
// gives back the result as JSON. An object {"error": {...}} says that something is wrong.
let room: ArrayBuffer = new ArrayBuffer(0);
let reply: ArrayBuffer = new ArrayBuffer(0);

export function alloc(length: u32): usize {
  room = new ArrayBuffer(length);
  return changetype<usize>(room);
}

export function handle_message(start: usize, length: u32): u64 {
  const text = textOf(String.UTF8.decodeUnsafe(start, length), "text");
  if (text == null) {
    return answer('{"error":{"code":"bad_arguments","message":"text is missing"}}');
  }
  let words = 0;
  let characters = 0;
  let inside = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    const space = code == 32 || (code >= 9 && code <= 13);
    if (!space && !inside) words++;
    inside = !space;
    if (code < 0xdc00 || code > 0xdfff) characters++; // not the second half of a pair
  }
  return answer(`{"words":${words},"characters":${characters}}`);
}

// The address of the reply in the upper 32 bits, its length in the lower ones.
function answer(text: string): u64 {
  reply = String.UTF8.encode(text);
  return ((changetype<usize>(reply) as u64) << 32) | (reply.byteLength as u64);
}

// The text that belongs to a key; null when there is none. The node checks the arguments by the
// schema in tool.json before it calls, so this reads no more than it needs.
function textOf(json: string, key: string): string | null {
  const found = json.indexOf(`"${key}"`);
  if (found < 0) return null;
  const start = json.indexOf('"', json.indexOf(":", found + key.length + 2)) + 1;
  if (start == 0) return null;
  let text = "";
  for (let at = start; at < json.length && json.charAt(at) != '"'; at++) {
    if (json.charAt(at) != "\\") {
      text += json.charAt(at);
    } else {
      const escape = json.charAt(++at);
      if (escape == "u") {
        text += String.fromCharCode(i32(parseInt(json.substr(at + 1, 4), 16)));
        at += 4;
      } else {
        text += escape == "n" || escape == "r" || escape == "t" ? " " : escape;
      }
    }
  }
  return text;
}
