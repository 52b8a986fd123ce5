"""Prediction in shards, by whoever schedules them: jobs and their parts; Ray is one such engine."""
