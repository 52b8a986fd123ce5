"""The schema of the configuration, Hydra that composes it, and sweeps."""
