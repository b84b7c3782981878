"""Language models: the provider seam and the three that ship."""
