"""Where each backend binary comes from: the machine, the cache, an official release, or a build from source.

Owns the way from a pin to executables that can be started, each step checked. Refuses to start, configure or stop a
backend, and to know what it is for.
"""

from stack.backends.job import Cancelled, Progress
from stack.backends.pins import Pin, load_pins
from stack.backends.resolve import Absent, Found, probe, resolve

__all__ = ["Absent", "Cancelled", "Found", "Pin", "Progress", "load_pins", "probe", "resolve"]
