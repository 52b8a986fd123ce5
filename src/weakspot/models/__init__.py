"""Networks, their weights and bundles, and what is kept of their outputs."""
