"""Supervision: what a failure means, and who decides."""
