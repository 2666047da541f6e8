"""What can go wrong by the user's hand, and the exit codes that say so."""

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_USER = 2
EXIT_REJECTS = 3
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: run the same command again


class UserError(Exception):
    """Bad input. The message is one line that names the thing and says what would be valid; exit code 2."""


class RejectError(Exception):
    """One item of many cannot be used; the work goes on without it and the item is reported.

    Attributes: code, a short machine-readable reason such as `truncated`; detail, a sentence for a person.
    """

    def __init__(self, code: str, detail: str):
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Interrupted(Exception):
    """The run was asked to stop and has saved its state; the same command continues it. Exit code 75."""


def nearest(name: str, valid) -> str:
    """A hint for messages: the valid names, with the one nearest to `name` first where there is one."""
    import difflib

    names = sorted(str(value) for value in valid)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}valid: {', '.join(names)}"
