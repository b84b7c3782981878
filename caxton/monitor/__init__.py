"""The terminal monitor: a picture of a node, made from its API alone."""
