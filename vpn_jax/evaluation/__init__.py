"""Scores, metrics and the files they go to."""
