"""The randomness of the noise: an AES-256-CTR stream keyed by the operating system.

Torch's CPU generator keeps 32 bits of its seed, so whoever guesses 2**32 seeds can subtract its noise. Here the key has
256 bits, comes from `os.urandom`, is never written down and cannot be copied.

What remains open about floating point. A normal here is the inverse CDF of one of 2**64 equally likely points, rounded
to float64. It differs from the continuous normal of the proofs in three ways:

- its tail stops at 9.15 standard deviations, beyond which the normal has mass 2**-64 to both sides;
- probabilities are exact to 2**-64 a point and to the relative error of `scipy.special.ndtri`, about 1e-15;
- the sum of a float gradient and float noise lands on a grid that depends on both, so in principle the low bits of one
  released number can exclude a neighbouring table (Mironov 2012). Discrete mechanisms (`mechanisms`) are free of this;
  `dpsgd` says what it does about it.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NoReturn

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray
from scipy.special import ndtri

from tabsynth._check import at_least, within
from tabsynth.errors import ConformanceError

_CHUNK = 1 << 16  # words of the stream held at once: 512 KiB, so memory stays flat however much is asked for


class Secret:
    """Noise that nobody can predict or replay.

    A forked process takes a fresh key: two processes on one key would add the same noise to two answers, and their
    difference would be exact.

    >>> Secret().normal((2, 3)).shape
    (2, 3)
    >>> Secret.fixed(7).uniform(3) == Secret.fixed(7).uniform(3)
    array([ True,  True,  True])
    """

    _last: ClassVar[bytes] = b""

    def __init__(self) -> None:
        """Take a key from the operating system; raise ConformanceError when it hands out the same one twice."""
        self._fixed = False
        self._take_key(os.urandom(32))
        if self._fingerprint == Secret._last:
            raise ConformanceError("Two streams of noise are the same: the randomness they start from is not random.")
        Secret._last = self._fingerprint

    @classmethod
    def fixed(cls, seed: int) -> Secret:
        """Return a stream that can be replayed, for tests and fits without a budget.

        Every mechanism that adds noise from it marks its ledger not private, which no gate passes.
        """
        at_least("seed", seed, 0)
        secret = cls()
        secret._fixed = True
        secret._take_key(hashlib.sha256(f"tabsynth fixed noise {int(seed)}".encode()).digest())
        return secret

    @classmethod
    def kept(cls, key: bytes) -> Secret:
        """Return the stream of a key that a checkpoint keeps, so that a killed fit can go on with its own noise.

        It adds the same noise to the same sums and nothing else is ever told of them, so nothing is used twice. Whoever
        has the key can take the noise off: it is kept no longer than the fit takes.
        """
        secret = cls()
        secret._take_key(key)
        return secret

    @property
    def fixed_seed(self) -> bool:
        """Whether this stream comes from a seed somebody knows."""
        return self._fixed

    def uniform(self, shape: int | tuple[int, ...] = ()) -> NDArray[np.float64]:
        """Return float64 uniforms of `shape` in the open interval (0, 1): the odd multiples of 2**-53."""
        result = np.empty(shape, dtype=np.float64)
        for part, words in self._filled(result):
            # 52 bits and a half: with 53 the largest value would round up to 1.
            np.multiply((words >> np.uint64(12)).astype(np.float64) + 0.5, 2.0**-52, out=part)
        return result

    def normal(self, shape: int | tuple[int, ...] = ()) -> NDArray[np.float64]:
        """Return float64 standard normals of `shape`, by inverse CDF; the module says where they stop being exact.

        One bit is the sign and 63 bits place the point in the lower half, where float64 is densest: the tail is
        resolved to single points of mass 2**-64.
        """
        result = np.empty(shape, dtype=np.float64)
        for part, words in self._filled(result):
            lower = (words >> np.uint64(1)).astype(np.int64).astype(np.float64)
            lower += 0.5
            lower *= 2.0**-64
            ndtri(lower, out=part)
            np.negative(part, out=part, where=(words & np.uint64(1)).astype(bool))
        return result

    def poisson_sample(self, n: int, q: float) -> NDArray[np.int64]:
        """Return the sorted indices out of range(n) that an independent coin of probability `q` keeps.

        The coin is one 64-bit word against floor(q * 2**64): at most `q`, and within 2**-64 of it.

        >>> Secret().poisson_sample(4, 1.0)
        array([0, 1, 2, 3])
        """
        at_least("n", n, 0)
        within("q", q, 0, 1)
        if q == 1:
            return np.arange(n, dtype=np.int64)
        bar = np.uint64(math.floor(math.ldexp(q, 64)))
        kept = [start + np.flatnonzero(self._words(stop - start) < bar) for start, stop in _chunks(n)]
        return np.concatenate([np.empty(0, dtype=np.int64), *kept]).astype(np.int64, copy=False)

    def _filled(self, result: NDArray[np.float64]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.uint64]]]:
        """Walk `result` in flat parts, each with as many fresh words of the stream."""
        flat = result.reshape(-1)
        for start, stop in _chunks(flat.size):
            yield flat[start:stop], self._words(stop - start)

    def _words(self, count: int) -> NDArray[np.uint64]:
        """Return the next `count` 64-bit words of the stream."""
        if os.getpid() != self._process and not self._fixed:
            self._take_key(os.urandom(32))
        self._place += 8 * count
        return np.frombuffer(self._stream.update(bytes(8 * count)), dtype="<u8")

    def state_dict(self) -> dict[str, Any]:
        """Return how far the stream was read, which says nothing about its key."""
        return {"place": self._place}

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> None:
        """Go on from that place of this key's stream, ahead of what was read so far."""
        ahead = int(state_dict["place"]) - self._place
        if ahead < 0:
            raise ConformanceError("A stream of noise is never read a second time.")
        while ahead:
            ahead -= 8 * len(self._words(min(ahead // 8, _CHUNK)))

    def _take_key(self, key: bytes) -> None:
        """Start the stream of `key`; a key is used once, so the counter may start at zero."""
        self._process = os.getpid()
        self._fingerprint = hashlib.sha256(b"tabsynth fingerprint" + key).digest()
        self._stream: CipherContext = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
        self._place = 0  # bytes read

    def __repr__(self) -> str:
        return "Secret.fixed(...)" if self._fixed else "Secret()"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Refuse: a copied or stored stream repeats its noise."""
        raise TypeError("A Secret cannot be copied or stored: its noise would be used twice.")


def _chunks(n: int) -> Iterator[tuple[int, int]]:
    """Cut range(n) into runs of at most `_CHUNK`."""
    for start in range(0, n, _CHUNK):
        yield start, min(start + _CHUNK, n)
