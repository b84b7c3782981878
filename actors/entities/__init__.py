"""Entities: actors with an address that is always there, wherever and whether or not they run."""
