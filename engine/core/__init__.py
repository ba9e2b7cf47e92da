"""Meaning, no bytes: state, books, order lifecycle, timers, risk, and `step`, which decides."""
