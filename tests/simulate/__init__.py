"""Tests of the simulation: that it is deterministic, that failures shrink, and that planted bugs are caught."""
