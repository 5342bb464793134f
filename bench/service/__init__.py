"""What the service carries, and what each of its ways of doing things is worth against the plain one."""
