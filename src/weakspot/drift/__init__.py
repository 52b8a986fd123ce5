"""Has the world changed since yesterday? Tests that may be looked at after every picture. No torch."""
