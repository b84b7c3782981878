"""Components: WebAssembly with typed functions, apart from any engine.

``types`` are the types of WIT and their JSON form, ``schema`` makes JSON Schema of them, ``values``
converts between JSON and values, ``functions`` is what a component exports, and ``world`` is what
it may import. The functions of the host that every component may import are in ``wit/tool.wit``.
"""
