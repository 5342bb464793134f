"""The native form of the stack: every component a process on this machine, watched by one supervisor."""
