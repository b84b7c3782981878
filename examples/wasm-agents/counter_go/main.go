// An agent in Go: counts the messages it gets, also over restarts of the node. Agent ABI v1, with
// WASI for Go's own run time. caxton tool build examples/wasm-agents/counter_go
package main

import (
	"fmt"
	"strconv"
	"unsafe"
)

//go:wasmimport caxton log
func hostLog(level uint32, text unsafe.Pointer, length uint32)

//go:wasmimport caxton kv_get
func kvGet(key unsafe.Pointer, length uint32) int32

//go:wasmimport caxton kv_put
func kvPut(key unsafe.Pointer, length uint32, value unsafe.Pointer, size uint32) int32

//go:wasmimport caxton take
func take(room unsafe.Pointer, size uint32) int32

var key = []byte("count")

// What the host reads or writes must stay where it is until the next message.
var message, reply []byte

// alloc gives room for one message; there is never a second one at the same time.
//
//go:wasmexport alloc
func alloc(length uint32) unsafe.Pointer {
	message = make([]byte, length+1)
	return start(message)
}

// handle_message gets JSON, of which this agent needs nothing. The result is the address of the
// reply in the upper 32 bits and its length in the lower ones.
//
//go:wasmexport handle_message
func handleMessage(_ unsafe.Pointer, _ uint32) uint64 {
	count := stored() + 1
	value := strconv.AppendUint(nil, count, 10)
	kvPut(start(key), size(key), start(value), size(value))
	reply = fmt.Appendf(nil, `{"performative":"inform","content":"messages so far: %d"}`, count)
	return uint64(uintptr(start(reply)))<<32 | uint64(size(reply))
}

func stored() uint64 {
	found := kvGet(start(key), size(key))
	if found == -2 {
		text := []byte("no key-value store: grant kv in the agent file")
		hostLog(2, start(text), size(text))
	}
	if found <= 0 {
		return 0 // -1 says that there is no such key
	}
	digits := make([]byte, found)
	take(start(digits), size(digits))
	count, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		return 0
	}
	return count
}

func start(bytes []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(bytes)) }

func size(bytes []byte) uint32 { return uint32(len(bytes)) }

func main() {}
