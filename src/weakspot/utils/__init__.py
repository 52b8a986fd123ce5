"""Files, locks, threads, untrusted input, spreadsheets and the terminal: what knows nothing of pictures."""
