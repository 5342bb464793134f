"""`python -m incidents`: incidents against any running system, its addresses from `--endpoints` or the environment."""

from incidents.cli import app

if __name__ == "__main__":
    app(prog_name="python -m incidents")
