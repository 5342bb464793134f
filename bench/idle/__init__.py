"""What strangers' connections, idle, slow or malformed, do to those of everybody else."""
