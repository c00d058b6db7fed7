"""Synthetic clips of daily living: bodies, motion, rendering."""
