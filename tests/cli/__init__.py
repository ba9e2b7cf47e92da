"""Tests of the `tickroute` command."""
