"""``make capacity``: docs/capacity.md, computed from the results of the last measurements.

``--check`` writes nothing and exits 1 when the page is not what the results yield.
"""

from __future__ import annotations

import argparse
import sys

from bench.capacity.page import PAGE, build_page


def main() -> int:
    """Write the page, or see whether it is up to date."""
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only see whether docs/capacity.md is up to date")
    options = parser.parse_args()
    text = build_page()
    if not options.check:
        PAGE.write_text(text)
        print(f"written: {PAGE}")  # noqa: T201
        return 0
    if not PAGE.exists() or PAGE.read_text() != text:
        print("docs/capacity.md is not what bench/results yield. Run `make capacity`", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
