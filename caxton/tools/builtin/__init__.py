"""Tools that ship with Caxton: WebAssembly with its source beside it."""
