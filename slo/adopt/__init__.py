"""Other tools' SLO files → OpenSLO documents that our parser accepts.

`sloth` and `pyrra` read their formats, `queries` takes their PromQL apart, `document` is what both make. What cannot be
carried over is said field by field with a remedy; nothing is dropped in silence, and nothing is guessed.
"""
