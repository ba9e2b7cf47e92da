"""Tests of record layouts, schema and units."""
