"""`python -m slo`: the compiler without the rest of the stack."""

from slo.cli import app

if __name__ == "__main__":
    app()
