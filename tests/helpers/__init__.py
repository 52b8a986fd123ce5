"""What tests share; ``tests`` is on the path (pyproject.toml), so that it is ``from helpers.runs import TINY``."""
