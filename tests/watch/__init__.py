"""Tests of the process beside an engine, and of reconciliation."""
