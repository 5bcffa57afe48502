"""Batched tensor transforms that never invent labels, and the mix operations."""
