"""The Model Context Protocol at the edges: Caxton as a server, other servers' tools for agents.

The SDK (``mcp``) takes a second to import, so no module of the package imports it before a client
comes or a server is configured: ``server_file`` and ``policy`` never do, the others are imported
late.
"""
