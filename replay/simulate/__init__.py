"""Deterministic simulation: the real core and journal in a made-up world that misbehaves; see docs/simulation.md."""
