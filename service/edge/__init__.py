"""What every public route shares at the edge of the service."""
