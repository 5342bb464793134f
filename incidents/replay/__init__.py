"""Replay: a bundle → the local Prometheus, Loki and Jaeger, and its requests → the local service."""
