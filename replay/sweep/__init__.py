"""Sweeps: one configuration with many values of its keys, over days and seeds, on all cores or on Ray."""
