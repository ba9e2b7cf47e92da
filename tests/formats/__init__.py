"""Recorded formats: sources, readers, books of what they hold."""
