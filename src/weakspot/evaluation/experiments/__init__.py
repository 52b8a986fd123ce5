"""Experiments side by side, a row for each subset: what ``weakspot summarize`` and a sweep end in."""
