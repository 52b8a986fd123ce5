"""A Hydra launcher that runs the cells of a sweep on a Ray cluster: ``hydra/launcher=ray``."""
