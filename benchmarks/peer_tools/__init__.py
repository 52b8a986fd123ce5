"""What ``benchmarks/peers.py`` is made of: cells and their files, one scorer for all tools, and the tools."""
