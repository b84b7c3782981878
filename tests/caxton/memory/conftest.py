"""Puts this folder on the path: the backend and the embedder that tests are made with are here."""
