"""Losses, optimizer, the pure step, checkpoints and the loop."""
