"""The catalogue: what can be ordered."""
