"""`python -m stack` is the `signalbox` command."""

import sys


def main() -> None:
    """Run the command; Ctrl-C ends it without a traceback even while it is still being loaded."""
    try:
        from stack.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
