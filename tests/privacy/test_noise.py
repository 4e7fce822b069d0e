"""The noise stream: its cipher, its laws, and that it cannot be replayed."""

import copy
import os
import pickle

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy.stats import binomtest, chi2, chisquare, kstest, norm

from tabsynth.errors import ConformanceError, InputError
from tabsynth.privacy import noise
from tabsynth.privacy.noise import Secret

SMALL = 1e-6


def test_stream_is_aes_256_in_counter_mode_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise.os, "urandom", lambda size: bytes(range(size)))
    monkeypatch.setattr(Secret, "_last", b"")
    ecb = Cipher(algorithms.AES(bytes(range(32))), modes.ECB()).encryptor()
    blocks = b"".join(ecb.update(counter.to_bytes(16, "big")) for counter in range(5))
    words = np.frombuffer(blocks, dtype="<u8")
    np.testing.assert_array_equal(Secret().uniform(10), ((words >> 12) + 0.5) / 2**52)


def test_every_secret_has_its_own_key_of_256_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(noise.os, "urandom", lambda size, real=os.urandom: asked.append(size) or real(size))
    assert Secret().uniform() != Secret().uniform()
    assert asked == [32, 32]


@pytest.mark.parametrize("other", [8, 7 + 2**32, 7 + 2**64])
def test_fixed_seeds_repeat_and_use_all_of_the_seed(other: int) -> None:
    np.testing.assert_array_equal(Secret.fixed(7).normal(100), Secret.fixed(7).normal(100))
    assert not np.isin(Secret.fixed(7).uniform(100), Secret.fixed(other).uniform(100)).any()
    assert Secret.fixed(7).fixed_seed
    assert not Secret().fixed_seed


def test_a_stream_goes_on_where_it_stopped_and_across_chunks() -> None:
    whole = Secret.fixed(1).normal(200_001)
    secret = Secret.fixed(1)
    np.testing.assert_array_equal(whole, np.concatenate([secret.normal(70_000), secret.normal((130_001,))]))
    assert len(np.unique(whole)) == len(whole)


def test_uniforms_are_uniform_in_the_open_interval() -> None:
    draws = Secret.fixed(2).uniform((200, 500))
    assert draws.shape == (200, 500)
    assert chisquare(np.bincount((draws.ravel() * 64).astype(int), minlength=64)).pvalue > SMALL
    assert chisquare(np.bincount((np.sqrt(draws.ravel()) * 64).astype(int), minlength=64)).pvalue < SMALL


@pytest.mark.parametrize(("word", "uniform", "normal"), [(0, 2**-53, -9.155293773), (2**64 - 1, 1 - 2**-53, 0.0)])
def test_the_last_words_stay_inside(monkeypatch: pytest.MonkeyPatch, word: int, uniform: float, normal: float) -> None:
    monkeypatch.setattr(Secret, "_words", lambda self, count: np.full(count, word, dtype=np.uint64))
    assert Secret().uniform() == uniform
    assert 0 < uniform < 1
    assert Secret().normal() == pytest.approx(normal, abs=1e-9)


def test_normals_have_the_normal_law_and_not_a_narrower_one() -> None:
    draws = Secret.fixed(3).normal(100_000)
    assert kstest(draws, "norm").pvalue > SMALL
    assert kstest(draws * 2 / 3, "norm").pvalue < SMALL
    assert chi2.sf(np.square(draws).sum(), len(draws)) > SMALL
    beyond = int((np.abs(draws) > 3.5).sum())
    assert binomtest(beyond, len(draws), 2 * norm.sf(3.5)).pvalue > SMALL


def test_normals_mirror_when_the_sign_bit_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.random.default_rng(0).integers(2**63, size=1000, dtype=np.uint64) << np.uint64(1)
    monkeypatch.setattr(Secret, "_words", lambda self, count: words)
    low = Secret().normal(1000)
    monkeypatch.setattr(Secret, "_words", lambda self, count: words | np.uint64(1))
    np.testing.assert_array_equal(low, -Secret().normal(1000))
    assert (low < 0).all()


@pytest.mark.parametrize(
    ("n", "q"), [(1000, 0.3), (200_000, 0.01), (10, 0.999), (5, 0.0), (5, 1.0), (0, 0.5), (1, 0.5)]
)
def test_poisson_samples_are_one_coin_per_index(n: int, q: float) -> None:
    kept = Secret.fixed(4).poisson_sample(n, q)
    coins = Secret.fixed(4)._words(n)
    expected = [i for i, coin in enumerate(coins.tolist()) if coin < int(q * 2**64)]
    np.testing.assert_array_equal(kept, expected)
    assert kept.dtype == np.int64


def test_poisson_sizes_spread_as_a_binomial_and_not_as_a_shuffle() -> None:
    secret, n, q = Secret.fixed(5), 2000, 0.1
    samples = [secret.poisson_sample(n, q) for _ in range(300)]
    spread = np.square([len(s) - n * q for s in samples]).sum() / (n * q * (1 - q))
    assert SMALL < chi2.cdf(spread, 300) < 1 - SMALL
    assert chi2.cdf(0.0, 300) < SMALL  # batches of one size
    often = np.bincount(np.concatenate(samples), minlength=n)
    assert SMALL < chi2.cdf(np.square(often - 300 * q).sum() / (300 * q * (1 - q)), n) < 1 - SMALL


@pytest.mark.parametrize(("n", "q"), [(-1, 0.5), (5, -0.1), (5, 1.1), (5, float("nan"))])
def test_poisson_sample_names_what_is_wrong(n: int, q: float) -> None:
    with pytest.raises(InputError, match=r"n must be|q must lie"):
        Secret().poisson_sample(n, q)


@pytest.mark.parametrize("repeat", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_secret_is_not_copied(repeat: object) -> None:
    with pytest.raises(TypeError, match="used twice"):
        repeat(Secret())  # type: ignore[operator]


def test_a_fork_takes_a_fresh_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = iter([b"a" * 32, b"b" * 32, b"a" * 32])
    monkeypatch.setattr(noise.os, "urandom", lambda size: next(keys))
    child = Secret()
    monkeypatch.setattr(noise.os, "getpid", lambda: -1)
    in_child = child.uniform(10)
    monkeypatch.undo()
    monkeypatch.setattr(noise.os, "urandom", lambda size: b"a" * 32)
    monkeypatch.setattr(Secret, "_last", b"")
    assert not np.isin(in_child, Secret().uniform(10)).any()


def test_randomness_that_repeats_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = iter([b"c" * 32, b"d" * 32, b"d" * 32])
    monkeypatch.setattr(noise.os, "urandom", lambda size: next(keys))
    Secret(), Secret()
    with pytest.raises(ConformanceError, match="not random"):
        Secret()


def test_a_seed_is_a_whole_number() -> None:
    with pytest.raises(InputError, match="seed"):
        Secret.fixed(-1)


def test_repr_shows_no_key() -> None:
    assert repr(Secret()) == "Secret()"
    assert repr(Secret.fixed(123)) == "Secret.fixed(...)"
