"""The processes of a node: what each runs, and the links between them."""
