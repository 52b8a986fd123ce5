"""Trained and exported models that take images and give predictions."""
