"""Reconciliation: what we booked against what venues say that they executed."""
