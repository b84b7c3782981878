"""The memory of agents: a knowledge graph with semantic search.

``model`` what is remembered, ``requests`` what can be asked, ``backend`` where it is kept,
``service`` the rules in between (scopes, de-duplication, fusion), ``client`` what others call.
"""
