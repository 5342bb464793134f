"""The commands of `slo`, a module each; `slo/cli.py` lists them.

Owns what a person types and reads. Refuses to do the work: a command reads its options, calls one module of `slo`, and
prints what that returned.
"""
