"""Capture: a time slice out of any Prometheus, Loki and Jaeger → a bundle."""
