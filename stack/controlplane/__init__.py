"""A Kubernetes control plane on this machine: real programs as plain processes, for the proof that autoscaling works.

Owns what it takes to have one: versions, certificates, processes, documents; and the reconciler that makes pods of a
Deployment into replicas of the running stack. No part of `signalbox up`: only `make prove-scaling` starts it.
"""
