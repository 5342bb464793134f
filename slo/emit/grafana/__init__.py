"""Grafana dashboards, from promises and from the boards that people design.

Owns Grafana's JSON. `panels` knows the schema, `frame` what all dashboards have in common; the others only say what is
shown: `budgets` (all promises), `promise` (one), `services` (those of a service), `boards` (designed ones).
"""
