"""The pager: where Alertmanager's pages arrive, are kept, explained and shown.

Owns: receiving webhooks, keeping pages through crashes, the web pages that lead from a page to its trace and
its logs, and the dead-man's switch. Refuses to know: how an SLO becomes an alert, and how the stack is started.
"""
