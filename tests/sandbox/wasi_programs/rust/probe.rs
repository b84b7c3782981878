//! Uses WASI as a Rust program does, through its standard library. See ../README.md.

use std::env;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::raw::{c_char, c_int};
use std::process::{abort, exit};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

extern "C" {
    fn symlink(target: *const c_char, path: *const c_char) -> c_int;
    fn getentropy(buffer: *mut u8, length: usize) -> c_int;
}

fn text(value: &str) -> CString {
    CString::new(value).expect("arguments hold no NUL")
}

fn checked(result: c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn random(count: usize) -> io::Result<()> {
    let mut bytes = vec![0u8; count];
    for part in bytes.chunks_mut(256) {
        checked(unsafe { getentropy(part.as_mut_ptr(), part.len()) })?;
    }
    let hex: String = bytes.iter().map(|byte| format!("{:02x}", byte)).collect();
    println!("{}", hex);
    Ok(())
}

fn clock() {
    // An Instant cannot be printed: the nanoseconds since the first one can.
    let real = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let begun = Instant::now();
    let first = begun.elapsed().as_nanos();
    println!("{} {} {}", real.as_nanos(), first, begun.elapsed().as_nanos());
}

fn list(path: &str) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        names.push(format!("{}{}", entry.file_name().to_string_lossy(), slash));
    }
    names.sort();
    names.iter().for_each(|name| println!("{}", name));
    Ok(())
}

fn stat(path: &str) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    let kind = if found.is_dir() {
        "dir"
    } else if found.file_type().is_symlink() {
        "link"
    } else {
        "file"
    };
    let changed = found.modified()?.duration_since(UNIX_EPOCH).expect("after 1970");
    println!("{} {} {}", kind, found.len(), changed.as_nanos());
    Ok(())
}

fn seek(path: &str, offset: u64, count: u64) -> io::Result<()> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    io::copy(&mut file.take(count), &mut io::stdout()).map(drop)
}

fn run(words: &[&str]) -> io::Result<()> {
    let number = |at: usize| words[at].parse::<u64>().expect("a number");
    match words {
        ["args", rest @ ..] => rest.iter().for_each(|word| println!("{}", word)),
        ["env"] => {
            let mut lines: Vec<_> = env::vars().map(|(k, v)| format!("{}={}", k, v)).collect();
            lines.sort();
            lines.iter().for_each(|line| println!("{}", line));
        }
        ["cat"] => return io::copy(&mut io::stdin(), &mut io::stdout()).map(drop),
        ["both"] => {
            println!("out");
            eprintln!("err");
        }
        ["exit", _] => exit(number(1) as i32),
        ["crash"] => abort(),
        ["clock"] => clock(),
        ["random", _] => return random(number(1) as usize),
        ["sleep", _] => {
            let begun = Instant::now();
            thread::sleep(Duration::from_millis(number(1)));
            println!("{}", begun.elapsed().as_nanos());
        }
        ["read", path] => return io::copy(&mut File::open(path)?, &mut io::stdout()).map(drop),
        ["seek", path, ..] => return seek(path, number(2), number(3)),
        ["write", path, value] => return fs::write(path, value),
        ["append", path, value] => {
            let mut file = OpenOptions::new().append(true).create(true).open(path)?;
            return file.write_all(value.as_bytes());
        }
        ["create", path] => {
            return OpenOptions::new().write(true).create_new(true).open(path).map(drop)
        }
        ["truncate", path, _] => {
            return OpenOptions::new().write(true).open(path)?.set_len(number(2))
        }
        ["rename", from, to] => return fs::rename(from, to),
        ["rm", path] => return fs::remove_file(path),
        ["mkdir", path] => return fs::create_dir(path),
        ["rmdir", path] => return fs::remove_dir(path),
        ["symlink", target, path] => {
            return checked(unsafe { symlink(text(target).as_ptr(), text(path).as_ptr()) })
        }
        ["ls", path] => return list(path),
        ["stat", path] => return stat(path),
        _ => exit(2),
    }
    Ok(())
}

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let Err(error) = run(&words) {
        eprintln!("errno {}", error.raw_os_error().unwrap_or(-1));
        exit(1);
    }
}
