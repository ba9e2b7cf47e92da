"""Clients: those who send parent orders and hear what became of them."""
