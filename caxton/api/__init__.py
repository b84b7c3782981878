"""The REST edge: one route table, RFC 9457 problems, OpenAPI made from the types."""
