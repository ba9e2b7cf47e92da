"""All that reads what was recorded: verify, explain, backtests, reports."""
