"""Tests of engine/io: bytes in and out, against plain twins, across threads and processes."""
