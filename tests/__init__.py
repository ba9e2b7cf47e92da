"""The tests, in the house's own rooms; outside the house: they may import any floor."""
