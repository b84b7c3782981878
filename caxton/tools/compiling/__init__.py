"""Building tools and agents to WebAssembly with the compilers that are installed."""
