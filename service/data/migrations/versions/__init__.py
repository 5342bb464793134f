"""One file a version, applied in the order of their numbers."""
