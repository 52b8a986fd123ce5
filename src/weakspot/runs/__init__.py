"""Run folders and what identifies a run."""
