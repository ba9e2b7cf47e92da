"""Tests of the house itself: floors, tidiness, test modes, packaging."""
