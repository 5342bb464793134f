"""Orders: what was ordered, and what became of it."""
