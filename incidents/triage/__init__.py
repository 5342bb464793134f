"""Triage: what is probably the cause of what is wrong now.

Data flows one way: `windows` → `observe` → deviations (`figures`, `versions`, `blame`, `selftime`, `repetition`,
`lines`: pure) → `rank` → `render`.
`rules.yaml` holds every threshold with its reason. Neither faults nor scenarios are read.
"""
