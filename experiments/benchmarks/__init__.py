"""How good and how fast, beside what else is at hand."""
