"""How glibc's heap keeps what is freed, for training on a processor. Imports no torch: the agent asks, too.

Activations come and go with every step. Given back to the kernel each time they cost a third of a step on a processor, for it
clears every page; so the heap keeps them. Blocks that torch asks for begin at multiples of 64 bytes: glibc cuts them out of
larger ones, and crumbs are left at both ends. It puts crumbs aside for the next small piece, where they never join what is
free around them; then the next block of the same size fits nowhere, and the heap grows by half and more. So none are put
aside.
"""

from __future__ import annotations

import ctypes
import os
import platform

_M_MXFAST, _M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = 1, -1, -2, -4  # mallopt(3)
_TUNABLES = "GLIBC_TUNABLES"
_NO_CACHE = "glibc.malloc.tcache_count=0"
"""mallopt cannot say it."""


def environment() -> dict[str, str]:
    """What a process must be started with for its heap to put no crumbs aside; a person's own settings of glibc stay."""
    own = os.environ.get(_TUNABLES, "")
    if "glibc.malloc.tcache_count" in own:
        return {_TUNABLES: own}
    return {_TUNABLES: f"{own}:{_NO_CACHE}" if own else _NO_CACHE}


def keep_freed_memory() -> None:
    """Lets glibc keep what is freed; all of it is of use again only in a process that was started with `environment`."""
    _allocate(trim=2**31 - 1, pad=256 * 2**20, maps=0)


def return_freed_memory() -> None:
    """Lets glibc take no more than is asked for and give back what is freed: slower, and for where memory is scarce."""
    _allocate(trim=2**17, pad=2**17, maps=2**16)


def _allocate(*, trim: int, pad: int, maps: int) -> None:
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL("libc.so.6")
    libc.mallopt(_M_MXFAST, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, trim)
    libc.mallopt(_M_TOP_PAD, pad)
    libc.mallopt(_M_MMAP_MAX, maps)
    if maps:
        libc.malloc_trim(0)
