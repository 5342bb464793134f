"""Text → model: YAML nodes that know their place, fields that report what is wrong with them, OpenSLO documents.

Refuses to know any target (rules, routes, dashboards).
"""
