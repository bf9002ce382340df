"""When a box tries again: full jitter, doubling from 0.5 s to 60 s, reset only by a session that lasted."""

from typing import Final

FIRST_S: Final = 0.5
CAP_S: Final = 60.0
# A session shorter than this proves nothing: resetting on it would hammer a hub that accepts and drops.
STABLE_S: Final = 30.0


class Backoff:
    """The delay before the next attempt. `dice` are uniform numbers in [0, 1) that the caller draws."""

    def __init__(self, first_s: float = FIRST_S, cap_s: float = CAP_S) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self.failures = 0

    def delay_s(self, dice: float, *, retry_after_s: float = 0.0) -> float:
        """Seconds to wait now; at least what the hub asked for in `bye`."""
        ceiling = min(self._cap_s, self._first_s * 2.0 ** min(self.failures, 16))
        self.failures += 1
        return retry_after_s + dice * ceiling

    def lasted(self, session_s: float) -> None:
        """A session ended after `session_s` seconds."""
        if session_s >= STABLE_S:
            self.failures = 0

    def link_returned(self) -> None:
        """The local link came back: the next attempt is immediate again."""
        self.failures = 0
