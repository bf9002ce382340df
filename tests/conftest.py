"""What holds for every test."""

import signal

# A run in the background of a shell is started with SIGINT ignored, and every program it starts would inherit that; but
# some tests interrupt programs as Ctrl-C does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
