"""Tests of the engine's drivers: configuration, host, loop."""
