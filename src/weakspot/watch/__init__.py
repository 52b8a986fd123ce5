"""At the line: a source of pictures, a journal of verdicts, results by day, and sinks that are told."""
