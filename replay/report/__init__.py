"""The latency report: measure (numbers) and pages (what people see)."""
