"""What the command says when it cannot do what was asked: one line, with its remedy.

Knows no exit codes and no terminal; `stack.cli` turns these into both.
"""


class StackError(Exception):
    """Something a person can act upon: `what` went wrong and the `remedy`."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}. {remedy}".rstrip(" .") + ".")
        self.what = what
        self.remedy = remedy


class WrongUse(StackError):
    """The command or its environment was given something that makes no sense (exit code 2)."""
