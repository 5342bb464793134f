"""The promises about telemetry, measured: nothing fails, nothing waits, nothing grows, nothing is lost uncounted.

``python -m bench.promises`` runs the long forms; tests/processes and tests/acceptance/service run the same code for
seconds. Each module measures one of them and returns its figures; README.md here says how.
"""
