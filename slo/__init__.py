"""The promises of the service and the compiler that turns them into rules, routes, dashboards and runbooks.

Data flows one way: `parse` (YAML → model) → `model` and `burn` (plain mathematics) → `emit` (model → text). Refuses to
know the service that keeps the promises and the stack that runs the rules; it meets both in data only.
"""
