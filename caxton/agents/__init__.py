"""Agents: their files, their life, and the three kinds of behaviour."""
