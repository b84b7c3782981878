"""The command line: a thin client of the REST API, and the way to start and stop a node."""
