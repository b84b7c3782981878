// Uses WASI as a Go program does, through its standard library. See ../README.md.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func number(word string) int64 {
	value, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		os.Exit(2)
	}
	return value
}

// print writes words and a newline; fmt would add 300 kB to the module.
func print(words ...string) {
	os.Stdout.WriteString(strings.Join(words, " ") + "\n")
}

func ns(nanoseconds int64) string {
	return strconv.FormatInt(nanoseconds, 10)
}

func put(path string, flags int, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|flags, 0o644)
	if err != nil {
		return err
	}
	if _, err = file.WriteString(text); err != nil {
		return err
	}
	return file.Close()
}

func get(path string, offset, count int64) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	if _, err = file.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	var from io.Reader = file
	if count >= 0 {
		from = io.LimitReader(file, count)
	}
	_, err = io.Copy(os.Stdout, from)
	return err
}

func list(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		slash := ""
		if entry.IsDir() {
			slash = "/"
		}
		print(entry.Name() + slash)
	}
	return nil
}

func stat(path string) error {
	found, err := os.Lstat(path)
	if err != nil {
		return err
	}
	kind := "file"
	if found.IsDir() {
		kind = "dir"
	} else if found.Mode()&os.ModeSymlink != 0 {
		kind = "link"
	}
	print(kind, ns(found.Size()), ns(found.ModTime().UnixNano()))
	return nil
}

func none(verb string) error {
	switch verb {
	case "args":
	case "env":
		lines := os.Environ()
		sort.Strings(lines)
		for _, line := range lines {
			print(line)
		}
	case "cat":
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	case "both":
		print("out")
		os.Stderr.WriteString("err\n")
	case "clock":
		begun := time.Now()
		first := time.Since(begun)
		print(ns(begun.UnixNano()), ns(first.Nanoseconds()), ns(time.Since(begun).Nanoseconds()))
	default:
		os.Exit(2)
	}
	return nil
}

func one(verb, word string) error {
	switch verb {
	case "exit":
		os.Exit(int(number(word)))
	case "random":
		bytes := make([]byte, number(word))
		if _, err := rand.Read(bytes); err != nil {
			return err
		}
		print(hex.EncodeToString(bytes))
	case "sleep":
		begun := time.Now()
		time.Sleep(time.Duration(number(word)) * time.Millisecond)
		print(ns(time.Since(begun).Nanoseconds()))
	case "read":
		return get(word, 0, -1)
	case "create":
		return put(word, os.O_CREATE|os.O_EXCL, "")
	case "rm":
		return syscall.Unlink(word)
	case "mkdir":
		return os.Mkdir(word, 0o755)
	case "rmdir":
		return syscall.Rmdir(word)
	case "ls":
		return list(word)
	case "stat":
		return stat(word)
	default:
		os.Exit(2)
	}
	return nil
}

func two(verb, first, second string) error {
	switch verb {
	case "write":
		return put(first, os.O_CREATE|os.O_TRUNC, second)
	case "append":
		return put(first, os.O_CREATE|os.O_APPEND, second)
	case "truncate":
		return os.Truncate(first, number(second))
	case "rename":
		return os.Rename(first, second)
	case "symlink":
		return os.Symlink(first, second)
	}
	os.Exit(2)
	return nil
}

func run(words []string) error {
	switch {
	case len(words) > 0 && words[0] == "args":
		os.Stdout.WriteString(strings.Join(append(words[1:], ""), "\n"))
		return nil
	case len(words) == 1:
		return none(words[0])
	case len(words) == 2:
		return one(words[0], words[1])
	case len(words) == 3:
		return two(words[0], words[1], words[2])
	case len(words) == 4 && words[0] == "seek":
		return get(words[1], number(words[2]), number(words[3]))
	}
	os.Exit(2)
	return nil
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		var errno syscall.Errno
		errors.As(err, &errno)
		os.Stderr.WriteString("errno " + strconv.Itoa(int(errno)) + "\n")
		os.Exit(1)
	}
}
