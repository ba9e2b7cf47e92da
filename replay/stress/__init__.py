"""How much faster than its busiest recorded moment a market may be before the engine falls behind."""
