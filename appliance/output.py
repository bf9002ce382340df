"""How much of a task's output fits into its outcome, and what is said about the rest.

An entry of the log has a limit in encoded bytes, so what counts is the JSON: an escaped control character takes six,
and bytes that are no UTF-8 are there twice, as text for people and as base64. What does not fit keeps its head and its
tail, with a line between them that says how much is missing.
"""

from dataclasses import dataclass
from typing import Final

from cloudsync.spec import Output

# Both streams up to here together fit whatever they hold: a byte takes at most six when encoded.
SAFE_BYTES: Final = 32 * 1024
# Room for the line about the cut, and for numbers in the encoding that change with it.
_SLACK_BYTES: Final = 128
# An outcome has no use for fewer bytes of one end of a stream than this.
_ROUNDS: Final = 24


@dataclass(frozen=True, slots=True)
class Stream:
    """What was read of one stream: all of it in `head`, or its two ends where it is long."""

    head: bytes = b""
    tail: bytes = b""
    total_bytes: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether `head` is all there is."""
        return len(self.head) == self.total_bytes


def fit(stdout: Stream, stderr: Stream, budget_bytes: int) -> tuple[Output, Output]:
    """The outputs of both streams, which together take at most `budget_bytes` when encoded.

    Each may have half; what one does not need the other gets.
    """
    if stdout.total_bytes + stderr.total_bytes <= SAFE_BYTES and stdout.is_whole and stderr.is_whole:
        return Output.of(stdout.head), Output.of(stderr.head)
    half = budget_bytes // 2
    small_error = cut(stderr, half)
    out = cut(stdout, budget_bytes - encoded_bytes(small_error))
    error = small_error
    if error.cut_bytes:
        error = cut(stderr, budget_bytes - encoded_bytes(out))
        if encoded_bytes(out) > half and encoded_bytes(out) + encoded_bytes(error) > budget_bytes:
            out = cut(stdout, half)
            error = cut(stderr, budget_bytes - encoded_bytes(out))
    return out, error


def cut(stream: Stream, budget_bytes: int) -> Output:
    """As much of the stream as fits into `budget_bytes` when encoded."""
    if stream.is_whole:
        whole = Output.of(stream.head)
        if encoded_bytes(whole) <= budget_bytes:
            return whole
    keep = min(budget_bytes, stream.total_bytes)
    best = _kept(stream, 0)
    fits, over = 0, keep + 1
    for _ in range(_ROUNDS):
        output = _kept(stream, keep)
        size = encoded_bytes(output)
        if size <= budget_bytes:
            best, fits = output, keep
            if budget_bytes - size <= _SLACK_BYTES:
                break
        else:
            over = keep
        # By the ratio seen, which hits at once where the bytes are all of a kind, kept within what is known.
        guess = keep * max(1, budget_bytes - _SLACK_BYTES // 2) // max(1, size)
        keep = guess if fits < guess < over else (fits + over) // 2
        if keep <= fits:
            break
    return best


def encoded_bytes(output: Output) -> int:
    """What an output takes in the JSON of an entry."""
    text = output.model_dump_json(exclude_none=True)
    return len(text) if text.isascii() else len(text.encode())


def _kept(stream: Stream, keep_bytes: int) -> Output:
    """Head and tail of `keep_bytes` in all, cut between characters."""
    if keep_bytes >= stream.total_bytes and stream.is_whole:
        return Output.of(stream.head)
    source_tail = stream.tail or stream.head
    tail_bytes = min(keep_bytes // 2, len(source_tail))
    head = _whole_end(stream.head[: keep_bytes - tail_bytes])
    tail = _whole_start(source_tail[len(source_tail) - tail_bytes :])
    cut_bytes = stream.total_bytes - len(head) - len(tail)
    line = f"\n[… {cut_bytes} bytes left out …]\n".encode()
    return Output.of(head + line + tail, total_bytes=stream.total_bytes, cut_bytes=cut_bytes)


def _whole_end(data: bytes) -> bytes:
    """Without a UTF-8 character that the cut has halved (RFC 3629, section 3)."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if back < needed else data
        if byte < 0x80:
            break
    return data


def _whole_start(data: bytes) -> bytes:
    """Without the rest of a UTF-8 character whose start the cut has taken."""
    start = 0
    while start < min(3, len(data)) and 0x80 <= data[start] < 0xC0:
        start += 1
    return data[start:] if start < len(data) else data
