"""A course of traffic and errors against a promise's rules: what fires when, what stops when, what is spent.

`sources` counts short windows as Prometheus does, `meter` makes all windows of a promise from them, `outcome` runs a
course and tells what came of it. It does not run PromQL; a test holds it to a real Prometheus within one evaluation
interval.
"""
