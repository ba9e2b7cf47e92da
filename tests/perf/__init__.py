"""Tests of the benchmarks: that they work and speak one format; never how fast they are."""
