"""Conversations: each an actor with its participants, counts and protocol."""
