"""Tests of what reads a recorded run: verify, reports, and the committed hash of a day's outputs."""
