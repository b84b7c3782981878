"""Interaction protocols: what may be said next in a conversation, and by whom."""
