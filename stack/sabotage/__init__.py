"""Faults that no process can do to itself: an index dropped, a process stopped, a wire cut, a bad version deployed.

Runs as the component `faults` and speaks the language of the services' own faults (`/internal/faults`), so that
`signalbox fault` and the incidents switch both alike. Refuses everything outside development.
"""
