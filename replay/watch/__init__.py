"""The process beside an engine: alerts, clock evidence, drop copy; and the logs that they are kept in."""
