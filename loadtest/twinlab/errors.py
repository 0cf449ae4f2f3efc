"""The two ways in which the laboratory ends early."""


class LabError(Exception):
    """Something that the user can act on: one line that names the cause and, where there is one, the fix."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived. Not an Exception, so that no handler for ordinary failures swallows it."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
