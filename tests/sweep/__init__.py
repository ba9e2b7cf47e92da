"""Tests of sweeps over parameters, days and seeds."""
