"""The memory in a Qdrant server, with Qdrant's own client (extra ``qdrant``)."""
