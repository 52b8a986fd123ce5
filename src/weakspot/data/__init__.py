"""Reading data: images, folder layouts, splits and a summary of what is there. Imports no torch."""
