"""A new version on the running stack: one replica first, judged by the promises, then all or none.

Owns the rollout. Knows nothing of how a replica is started and what makes a version good.
"""
