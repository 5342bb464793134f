"""The composition roots: one module a process, named as its command is, with one ``build_app``.

A module here alone sees all the parts of its process, and imports no others: what a process is not made of costs it no
memory. Nothing is built at import; everything is built once, from the settings. Connections are opened when they are
first needed; threads and tasks are started, and everything is closed again, by the application's lifespan.
"""
