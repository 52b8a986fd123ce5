"""The work of each command-line verb, as plain functions."""
