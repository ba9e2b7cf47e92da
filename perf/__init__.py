"""Benchmarks; `tickroute perf` runs them. Outside the house: they may import any floor."""
