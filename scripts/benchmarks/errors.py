"""What a benchmark can refuse or fail with: one error, always with what to do about it."""


class BenchError(Exception):
    """A benchmark that cannot be run, or whose figures would mean nothing.

    ``hint`` is what the person at the terminal can do now.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint
