"""A run's state at any input of its past: reach (drive the journal to it), view (the state as typed values)."""
