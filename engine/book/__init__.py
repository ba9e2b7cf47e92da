"""Order books of recorded and live feeds: price ladders, orders, and what they show together."""
