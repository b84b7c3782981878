"""The implementations that the suite runs over."""

from actors_kinds import kind

__all__ = ["kind"]
