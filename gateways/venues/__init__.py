"""Venues: exchanges simulated over recorded quotes, and sessions to them."""
