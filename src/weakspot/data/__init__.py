"""Data sets: images, folder layouts, splits, and a summary of what they contain. Imports no torch."""
