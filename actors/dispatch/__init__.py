"""Dispatchers: who runs the turns of actors."""
