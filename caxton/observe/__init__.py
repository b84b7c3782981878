"""Metrics, logs and traces of a node."""
