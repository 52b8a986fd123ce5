"""A small HTTP service for one model: pictures in, predictions out, and a page to drop a picture on."""
