"""Processes as supervised children."""
