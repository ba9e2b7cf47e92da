"""What everything else is written in: record layouts, the schema made from them, units."""
