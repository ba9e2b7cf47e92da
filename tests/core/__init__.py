"""Tests of the core: what an event does to the state, held to slow twins and to invariants."""
