"""Ctrl-C in the midst of a call."""

import signal
import subprocess
import sys
import time

LONG = """
import signal, sys, numpy as np, sam3_edge
# Whoever starts this test in the background has the signal ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
model = sam3_edge.Model(sys.argv[1], device="cpu", threads=1)
print("ready", flush=True)
try:
    model.segment(np.zeros((4000, 4000, 3), np.uint8), "boat", tiles=168)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_a_signal_ends_a_call(checkpoint):
    child = subprocess.Popen([sys.executable, "-c", LONG, str(checkpoint)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    time.sleep(1)
    start = time.monotonic()
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline() == "interrupted\n"
    assert child.wait() == 0
    assert time.monotonic() - start < 10, "it went on for its 900 tiles"
