"""What telemetry costs: CPU time a request of the same service, bare and seen in several ways."""
