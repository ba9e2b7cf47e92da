"""The outside world: feed decoders, order-entry protocols, venue sessions, simulated venues."""
