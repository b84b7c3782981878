"""Stores: LMDB environments, the journal, the registry."""
