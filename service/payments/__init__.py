"""Payments: a service of its own that charges for orders."""
