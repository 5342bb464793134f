"""The reference service: users, a catalogue and orders over HTTP, a worker that fulfils, a small payments service."""
