"""Clips -> records: cropped, compressed, checked."""
