"""Who is told of verdicts: one file each, each an extra."""
