"""Bytes, no meaning: atomics, sockets, rings, the journal, histograms, shared statistics."""
