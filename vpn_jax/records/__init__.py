"""Clips -> records: cropped, compressed and checked."""
