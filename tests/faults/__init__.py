"""Faults, with real processes and real files: kills, cuts, flips, full disks, silence, clocks, disconnects, soak."""
