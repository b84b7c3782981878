"""The memory in a Neo4j database, over Bolt with Neo4j's own driver (extra ``neo4j``)."""
