"""Workflows: what a strategy is to the core."""
