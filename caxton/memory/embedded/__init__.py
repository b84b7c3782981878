"""The memory inside the node: entities and relations in LMDB, indexes beside it."""
