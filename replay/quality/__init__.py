"""Execution quality by venue, strategy and client, and records of orders as supervisors ask for them."""
