"""The commands, one module per noun. A module is imported only when one of its commands runs."""
