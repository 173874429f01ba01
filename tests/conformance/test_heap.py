"""A model process gives back what it has freed once it has nothing to do, and not before."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import ctypes, time
from server.backends.heap import IDLE_S, Heap

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

heap = Heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
# Below what glibc maps alone, so that the last one keeps all others from the system.
blocks = [libc.malloc(100_000) for _ in range(1000)]
for block in blocks:
    ctypes.memset(ctypes.c_void_p(block), 1, 100_000)
full = resident_mb()
for block in blocks[:-1]:
    libc.free(ctypes.c_void_p(block))
ends = time.monotonic() + 3 * IDLE_S
while time.monotonic() < ends:
    heap.used()
    time.sleep(IDLE_S / 10)
print(full - resident_mb())
time.sleep(3 * IDLE_S)
print(full - resident_mb())
"""


def test_what_is_free_goes_back_when_work_pauses() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    at_work, idle = map(float, run.stdout.split())
    assert at_work < 10
    assert idle > 80
