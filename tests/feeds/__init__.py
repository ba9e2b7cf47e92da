"""Tests of the feed readers, the recordings and the player."""
