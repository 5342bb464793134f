"""What is allowed and yet probably not meant, told by name and number.

`definitions` looks at the promises alone, `exposition` and `live` at what a service really exposes, `collisions` at the
rules beside other rules; `rules.yaml` holds what each finding means. Refuses to decide what compiles: that is the
parser's, and an error.
"""
