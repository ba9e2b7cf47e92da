"""The drivers' side of the engine: configuration, host, the loop that introduces core and io."""
