"""One order's whole story, from the journal: index (find its inputs), walk (replay to them), score, story, pages."""
