"""``python -m weakspot``."""

from weakspot.cli.main import main

main()
