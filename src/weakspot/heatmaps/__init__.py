"""Heat-map methods that need torch."""
