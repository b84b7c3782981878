"""Tools: what agents may call, where each runs and what it may reach."""
