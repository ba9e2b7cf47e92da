"""Order books: against a naive twin, and on real feeds."""
