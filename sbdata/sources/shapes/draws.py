"""Random numbers and curves for the generated images, the same on every machine.

A picture must have the same bytes on every machine. Its random numbers therefore come from NumPy's
``SeedSequence`` (whose stream NumPy keeps stable, unlike that of its distributions) and a small
counter-based generator. All arithmetic is on integers: angles are 1024ths of a turn, lengths are
16ths of a pixel, and sines and powers are read from rounded tables.

Numba's cache does not notice a change in this file when it loads the kernels that call it: after an
edit here, delete ``sbdata/sources/shapes/__pycache__``.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt
from numba import boolean, int64, uint64, void

TURN = 1024  # angles
UNIT = 16  # a pixel, in lengths
ONE = 1 << 14  # in COSINE

# Kernels that are called with constants declare their types; otherwise they would be compiled again
# for every constant.
STATE = uint64[::1]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_27, _30, _31, _32, _53 = (np.uint64(bits) for bits in (27, 30, 31, 32, 53))

# No entry is close to a rounding tie (a test checks this), so every C library gives the same
# tables.
COSINE = np.array([round(ONE * math.cos(2 * math.pi * k / TURN)) for k in range(TURN)], np.int64)
OCTAVE = 256  # steps per doubling
POWER = np.array([round(65536 * 2 ** (k / OCTAVE)) for k in range(OCTAVE)], np.int64)


def keys(seed: int, stream: int, index: int) -> npt.NDArray[np.uint64]:
    """Return two keys of one image: one for the layout and one for the appearance."""
    sequence = np.random.SeedSequence([seed, stream, index])
    return sequence.generate_state(2, np.uint64).astype(np.uint64)


@numba.njit(uint64(uint64), cache=True)
def mixed(z):
    """Scramble 64 bits (the output function of SplitMix64, Steele, Lea and Flood 2014)."""
    z = (z ^ (z >> _30)) * _MIX_1
    z = (z ^ (z >> _27)) * _MIX_2
    return z ^ (z >> _31)


@numba.njit(STATE(uint64, int64), cache=True)
def stream(key, number):
    """Return a generator: one integer of state, independent for every ``number`` of a key."""
    state = np.empty(1, np.uint64)
    state[0] = mixed(key ^ mixed(np.uint64(number) * _GOLDEN + _MIX_1))
    return state


@numba.njit(int64(STATE, int64), cache=True)
def draw(state, below):
    """Return the generator's next integer in 0..below-1."""
    state[0] += _GOLDEN
    return np.int64(((mixed(state[0]) >> _32) * np.uint64(below)) >> _32)


@numba.njit(int64(STATE, int64, int64), cache=True)
def between(state, low, high):
    """Return the generator's next integer in low..high, both included."""
    return low + draw(state, high - low + 1)


@numba.njit(boolean(STATE, int64), cache=True)
def chance(state, percent):
    """Return True with a probability of ``percent`` percent."""
    return draw(state, 100) < percent


@numba.njit(cache=True)
def weighted(state, percents):
    """Return a random index into ``percents``, which add up to 100, with these probabilities."""
    left, place = draw(state, 100), 0
    while left >= percents[place]:
        left -= percents[place]
        place += 1
    return place


@numba.njit(int64(int64), cache=True)
def length(step):
    """Return ``2 ** (step / 256)`` pixels as a length; equal steps are equal ratios."""
    return (POWER[step % OCTAVE] << (step // OCTAVE)) >> 12


@numba.njit(uint64(uint64, int64, int64), cache=True)
def hashed(key, x, y):
    """Return the pseudo-random 64 bits of a lattice point."""
    return mixed(key + np.uint64(x & 0xFFFFFFFF) * _GOLDEN + (np.uint64(y & 0xFFFFFFFF) << _32))


@numba.njit(int64(uint64, int64, int64), cache=True)
def smooth_noise(key, p, q):
    """Return value noise in -1024..1024 at a point; the lattice is 512 units wide."""
    i, j = p >> 9, q >> 9
    s, t = p & 511, q & 511
    s = (s * s * (1536 - 2 * s)) >> 18  # the smooth step 3s² - 2s³
    t = (t * t * (1536 - 2 * t)) >> 18
    a = np.int64(hashed(key, i, j) >> _53) - 1024
    b = np.int64(hashed(key, i + 1, j) >> _53) - 1024
    c = np.int64(hashed(key, i, j + 1) >> _53) - 1024
    d = np.int64(hashed(key, i + 1, j + 1) >> _53) - 1024
    top = a * (512 - s) + b * s
    foot = c * (512 - s) + d * s
    return (top * (512 - t) + foot * t) >> 18


@numba.njit(void(STATE, int64, int64, int64[::1]), cache=True)
def colour(state, luma, spread, out):
    """Write a random red, green and blue of the given brightness; 255 is 4080.

    Sixteenths of a level keep gradients from banding until the picture is rounded to bytes.
    """
    red = between(state, -spread, spread)
    blue = between(state, -spread, spread)
    out[0] = min(max(luma + red, 4), 251) * 16
    out[1] = min(max(luma - (5 * red + 2 * blue) // 10, 4), 251) * 16
    out[2] = min(max(luma + blue, 4), 251) * 16
