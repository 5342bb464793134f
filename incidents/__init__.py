"""Incidents as timed claims: reproduce one against a running system, observe it, judge it, report it.

Owns scenarios, load, observation, verdicts and reports. Refuses to know how the system is started or written:
it meets it over HTTP only, at the addresses it is given.
"""
