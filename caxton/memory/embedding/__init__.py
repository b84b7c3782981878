"""What makes vectors of texts, in this process.

``opening`` finds a model and gives the embedder; ``batching`` gathers the texts of all callers for
an ``engine``: ``onnx_engine`` or ``transformers_engine``. ``weights`` says where models come from,
``prepared`` and ``graph`` make of one what the first of these engines loads.
"""
