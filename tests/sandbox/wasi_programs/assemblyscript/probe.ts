// Uses WASI as an AssemblyScript program does, through the WASI shim: its process, its bindings. It has no
// library for files, so paths are resolved here as C's library does it. See ../README.md.

import {
  clock_time_get, clockid, dirent, fd_close, fd_filestat_set_size, fd_prestat_dir_name,
  fd_prestat_get, fd_read, fd_readdir, fd_seek, fd_write, fdflags, filestat, filetype, oflags,
  path_create_directory, path_filestat_get, path_open, path_remove_directory, path_rename,
  path_symlink, path_unlink_file, poll_oneoff, prestat, random_get, rights, whence
} from "./node_modules/@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";

const NOTCAPABLE: u16 = 76;
const out = memory.data(64);
const iov = memory.data(16);

function fail(errno: u16): void {
  process.stderr.write(`errno ${errno}\n`);
  process.exit(1);
}

function check(errno: u16): void {
  if (errno != 0) fail(errno);
}

function print(line: string): void {
  process.stdout.write(line + "\n");
}

// A path of the program as the folder it is in and the path from there.
class Place {
  name: ArrayBuffer;
  constructor(public folder: u32, rest: string) {
    this.name = String.UTF8.encode(rest.length == 0 ? "." : rest);
  }
  get at(): usize { return changetype<usize>(this.name); }
  get size(): usize { return this.name.byteLength; }
}

function place(path: string): Place {
  for (let folder: u32 = 3; fd_prestat_get(folder, changetype<prestat>(out)) == 0; folder++) {
    let name = new ArrayBuffer(<i32>load<u32>(out, 4));
    check(fd_prestat_dir_name(folder, changetype<usize>(name), name.byteLength));
    let prefix = String.UTF8.decode(name);
    if (path == prefix || prefix == ".") return new Place(folder, path == prefix ? "" : path);
    if (path.startsWith(prefix == "/" ? "/" : prefix + "/")) {
      return new Place(folder, path.substring(prefix == "/" ? 1 : prefix.length + 1));
    }
  }
  fail(NOTCAPABLE);
  return new Place(0, path);
}

function open(path: string, flags: u16, wanted: u64, mode: u16): u32 {
  let where = place(path);
  check(path_open(where.folder, 1, where.at, where.size, flags, wanted, 0, mode, out));
  return load<u32>(out);
}

function copy(from: u32, most: u64): void {
  let buffer = new ArrayBuffer(65536);
  while (most > 0) {
    store<u32>(iov, <u32>changetype<usize>(buffer));
    store<u32>(iov, <u32>min(most, <u64>65536), 4);
    check(fd_read(from, iov, 1, out));
    let got = load<u32>(out);
    if (got == 0) return;
    write(1, changetype<usize>(buffer), got);
    most -= got;
  }
}

function write(to: u32, at: usize, length: usize): void {
  while (length > 0) {
    store<u32>(iov, <u32>at);
    store<u32>(iov, <u32>length, 4);
    check(fd_write(to, iov, 1, out));
    let written = load<u32>(out);
    at += written;
    length -= written;
  }
}

function put(path: string, flags: u16, mode: u16, text: string): void {
  let file = open(path, flags, rights.FD_WRITE, mode);
  let data = String.UTF8.encode(text);
  write(file, changetype<usize>(data), data.byteLength);
  check(fd_close(file));
}

function get(path: string, offset: i64, count: u64): void {
  let file = open(path, 0, rights.FD_READ | rights.FD_SEEK, 0);
  check(fd_seek(file, offset, whence.SET, out));
  copy(file, count);
  check(fd_close(file));
}

function list(path: string): void {
  let folder = open(path, oflags.DIRECTORY, rights.FD_READDIR, 0);
  let buffer = new ArrayBuffer(4096);
  let base = changetype<usize>(buffer);
  let names = new Array<string>();
  let cookie: u64 = 0;
  while (true) {
    check(fd_readdir(folder, base, 4096, cookie, out));
    let used = <usize>load<u32>(out);
    let at: usize = 0;
    while (at + 24 <= used) {
      let entry = changetype<dirent>(base + at);
      if (at + 24 + entry.namlen > used) break;
      let name = String.UTF8.decodeUnsafe(base + at + 24, entry.namlen);
      if (name != "." && name != "..") {
        names.push(entry.type == filetype.DIRECTORY ? name + "/" : name);
      }
      cookie = entry.next;
      at += 24 + entry.namlen;
    }
    if (used < 4096) break;
  }
  names.sort();
  for (let at = 0; at < names.length; at++) print(names[at]);
}

function stat(path: string): void {
  let where = place(path);
  let found = changetype<filestat>(out);
  check(path_filestat_get(where.folder, 0, where.at, where.size, found));
  let kind = found.filetype == filetype.DIRECTORY ? "dir"
    : found.filetype == filetype.SYMBOLIC_LINK ? "link" : "file";
  print(`${kind} ${found.size} ${found.mtim}`);
}

function monotonic(): u64 {
  check(clock_time_get(clockid.MONOTONIC, 1, out));
  return load<u64>(out);
}

function sleep(milliseconds: u64): void {
  // One subscription of 48 bytes: user data, kind, clock, timeout, precision, flags.
  let wait = new ArrayBuffer(80);
  let at = changetype<usize>(wait);
  store<u32>(at, clockid.MONOTONIC, 16);
  store<u64>(at, milliseconds * 1000000, 24);
  let begun = monotonic();
  check(poll_oneoff(at, at + 48, 1, out));
  print((monotonic() - begun).toString());
}

function random(count: i32): void {
  let bytes = new ArrayBuffer(count);
  let at = changetype<usize>(bytes);
  check(random_get(at, count));
  let hex = "";
  for (let n = 0; n < count; n++) hex += load<u8>(at + n).toString(16).padStart(2, "0");
  print(hex);
}

function none(verb: string): void {
  if (verb == "env") {
    let names = process.env.keys();
    names.sort();
    for (let n = 0; n < names.length; n++) print(names[n] + "=" + process.env.get(names[n]));
  } else if (verb == "cat") {
    copy(0, u64.MAX_VALUE);
  } else if (verb == "both") {
    print("out");
    process.stderr.write("err\n");
  } else if (verb == "clock") {
    check(clock_time_get(clockid.REALTIME, 1, out));
    let real = load<u64>(out);
    let first = monotonic();
    print(`${real} ${first} ${monotonic()}`);
  } else process.exit(2);
}

function one(verb: string, word: string): void {
  if (verb == "exit") process.exit(I32.parseInt(word));
  else if (verb == "random") random(I32.parseInt(word));
  else if (verb == "sleep") sleep(U64.parseInt(word));
  else if (verb == "read") get(word, 0, u64.MAX_VALUE);
  else if (verb == "create") put(word, oflags.CREAT | oflags.EXCL, 0, "");
  else if (verb == "ls") list(word);
  else if (verb == "stat") stat(word);
  else {
    let where = place(word);
    if (verb == "rm") check(path_unlink_file(where.folder, where.at, where.size));
    else if (verb == "mkdir") check(path_create_directory(where.folder, where.at, where.size));
    else if (verb == "rmdir") check(path_remove_directory(where.folder, where.at, where.size));
    else process.exit(2);
  }
}

function two(verb: string, first: string, second: string): void {
  if (verb == "write") put(first, oflags.CREAT | oflags.TRUNC, 0, second);
  else if (verb == "append") put(first, oflags.CREAT, fdflags.APPEND, second);
  else if (verb == "truncate") {
    let file = open(first, 0, rights.FD_WRITE | rights.FD_FILESTAT_SET_SIZE, 0);
    check(fd_filestat_set_size(file, U64.parseInt(second)));
  } else if (verb == "rename") {
    let from = place(first);
    let to = place(second);
    check(path_rename(from.folder, from.at, from.size, to.folder, to.at, to.size));
  } else if (verb == "symlink") {
    let target = String.UTF8.encode(first);
    let to = place(second);
    check(path_symlink(changetype<usize>(target), target.byteLength, to.folder, to.at, to.size));
  } else process.exit(2);
}

const words = process.argv;
if (words.length > 1 && words[1] == "args") {
  for (let at = 2; at < words.length; at++) print(words[at]);
} else if (words.length == 2) none(words[1]);
else if (words.length == 3) one(words[1], words[2]);
else if (words.length == 4) two(words[1], words[2], words[3]);
else if (words.length == 5 && words[1] == "seek") {
  get(words[2], I64.parseInt(words[3]), U64.parseInt(words[4]));
} else process.exit(2);
