//! words_rust: a WASI command. Arguments come as JSON on standard input, the result goes out as JSON
//! on standard output. Exit code 1 with {"error": {...}} says that something is wrong.
//!
//! One file without dependencies. For crates such as serde_json put a Cargo.toml here and this
//! file under src/main.rs: `caxton tool build` then uses cargo.
use std::io::Read;

/// The text that belongs to a key. The node checks the arguments by the schema in tool.json
/// before it calls, so this reads no more than it needs.
fn text_of(json: &str, key: &str) -> Option<String> {
    let quoted = format!("\"{}\"", key);
    let rest = &json[json.find(&quoted)? + quoted.len()..];
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    let mut characters = rest.strip_prefix('"')?.chars();
    let mut text = String::new();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            '\\' => match characters.next()? {
                'n' | 'r' | 't' => text.push(' '),
                'u' => {
                    let digits: String = characters.by_ref().take(4).collect();
                    let code = u32::from_str_radix(&digits, 16).ok()?;
                    text.push(char::from_u32(code).unwrap_or('?'));
                }
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

fn main() {
    let mut input = String::new();
    if std::io::stdin().read_to_string(&mut input).is_err() {
        fail("bad_arguments", "the input is not UTF-8");
    }
    match text_of(&input, "text") {
        Some(text) => println!(
            "{{\"words\":{},\"characters\":{}}}",
            text.split_whitespace().count(),
            text.chars().count()
        ),
        None => fail("bad_arguments", "text is missing"),
    }
}

fn fail(code: &str, message: &str) -> ! {
    println!("{{\"error\":{{\"code\":\"{}\",\"message\":\"{}\"}}}}", code, message);
    std::process::exit(1);
}
