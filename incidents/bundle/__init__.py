"""The bundle: a time slice of metrics, logs and traces in one file."""
