"""Autoscaling proved: the real service under load, a real control plane, the generated documents between them."""
