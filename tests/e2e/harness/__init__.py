"""Drives real clients against the real binary and judges what they decode."""
