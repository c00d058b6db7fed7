"""Predictions, poses and features -> numbers for figures, without pictures."""
