"""Networks, their weights and bundles, and stores for their outputs."""
