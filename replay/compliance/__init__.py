"""The compliance report: fourteen parts from the journals of one run or of months of them, and the proof of it."""
