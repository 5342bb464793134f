"""The `signalbox` command and the native stack: which parts run, where they come from, who keeps them alive.

Starts `service` as a process and never imports it.
"""
