"""Readers of recorded market data, a file a format: bytes in, the engine's own records out, in bounded memory."""
