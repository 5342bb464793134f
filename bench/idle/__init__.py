"""What thousands of connections that say nothing do to those that do."""
