"""Predicting very many images, shard by shard, in one process or on a Ray cluster."""
