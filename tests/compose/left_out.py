"""What an image that runs must not hold: whatever compiles, fetches or installs, and what one compiles against.

The rule, read off paths alone. Interpreters are left in: the service is Python, Debian's base is made of sh and perl,
and each of them could open a connection. dpkg is left in too: it unpacks what is there already, and the list it keeps
is what a scanner reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

PROGRAM_FOLDERS = {"bin", "sbin", "libexec"}
_VERSION = r"(-?\d+(\.\d+)*)?"
_TARGET = r"([a-z0-9_]+-(pc-)?(linux|alpine)-\w+-)?"  # x86_64-linux-gnu-gcc-14
_COMPILES = (
    r"cc|c\+\+|cpp|gcc|g\+\+|clang|clang\+\+|tcc|cc1|cc1plus|collect2|as|ld|ld\.\w+|ar|go|gofmt|rustc|cargo|javac"
)
_BUILDS = r"make|gmake|cmake|ninja|meson|autoconf|automake|libtool|m4|bison|flex|patch|pkg-config|pkgconf"
_FETCHES = r"git|git-\w+|hg|svn|curl|wget|wget2|aria2c|ftp|sftp|scp|ssh|rsync|nc|ncat|socat|telnet"
_INSTALLS = r"apt|apt-\w+|aptitude|apk|dnf|yum|snap|pip|pipx|uv|uvx|poetry|conda|easy_install|npm|gem"
_PROGRAM = re.compile(f"{_TARGET}({_COMPILES}|{_BUILDS}|{_FETCHES}|{_INSTALLS}){_VERSION}")
_CONFIG = re.compile(r"python[\d.]*-config")
_NO_PROGRAM = {"ld.so"}  # the loader of every dynamic program
_FILES = re.compile(
    r"/usr/(local/)?include/.+"
    r"|.*/Python\.h"
    r"|.*/config-[\w.-]+/Makefile"
    r"|.*\.pc"
    r"|.*/(ensurepip|pip|setuptools|wheel)/__init__\.py"
    r"|/usr/lib/apt/.+"
    r"|.*/lib(c|python[\d.]+)\.a"
)


def builders(paths: Iterable[str]) -> list[str]:
    """The paths that have no business in an image that runs, sorted; wherever they lie, on a PATH or not."""
    return sorted(path for path in paths if _FILES.fullmatch(path) or _is_builder(PurePosixPath(path)))


def _is_builder(path: PurePosixPath) -> bool:
    folders = set(path.parts[:-1])
    if not folders & PROGRAM_FOLDERS and "gcc" not in folders:  # cc1 lies in /usr/libexec/gcc, or lib/gcc
        return False
    if path.name in _NO_PROGRAM:
        return False
    return bool(_PROGRAM.fullmatch(path.name) or _CONFIG.fullmatch(path.name))
