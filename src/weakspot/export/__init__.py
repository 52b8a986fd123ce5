"""Into other tools: predicted boxes as annotations, trained models for other runtimes."""
