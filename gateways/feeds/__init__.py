"""Market data: a file a format, and the player that publishes recordings."""
