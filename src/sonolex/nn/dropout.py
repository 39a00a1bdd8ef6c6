"""Dropout that depends on a clip alone, at less than half of torch's cost on a CPU.

A trainer announces one seed a clip (`drawn_from`). Inside, whether a value is dropped is a function of its clip's seed,
of the module, of how often that module was called, and of the value's place in the clip: the rest of the batch, its
padding and the number of processes change no mask. Nothing is drawn in turn, so there is no state, and
every device drops the same values: the function is a hash of 64 bits, two rounds of multiply and xor-shift (Steele et
al. 2014, SplitMix64), of which every 16 bits are one value's chance.

Where nothing is announced, `Dropout` is torch's.

Three contexts announce exceptions: `drawn_for` (rows are windows or blocks of clips), `drawn_in_parts` (a sequence is
joined from parts that are padded separately) and `drawn_apart` (a pass that not every batch has).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

DRAWN_AT_ONCE = 4  # chances of 16 bits in a number of 64
CHANCES = 2**16
GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # SplitMix64's step and factors, as signed numbers
FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
LOW_HALF = 2**32 - 1
PART_PLACES = 2**32  # further apart than any two places of a sequence


class Dropout(nn.Dropout):
    """`nn.Dropout`, which compares 16 random bits a value with the probability.

    torch draws a float for each value on a CPU, which takes a sixth of a training step of small networks and more of
    those with many dropouts. The probability is rounded to a multiple of 1/65536.

    The first axis is that of the rows, the last but one the sequence; of four axes, the last one is a sequence too
    (the keys of attention).
    """

    number = 0

    def forward(self, input: Tensor) -> Tensor:
        draws = _DRAWS.get()
        if not self.training or self.p == 0 or (draws is None and (self.inplace or input.device.type != "cpu")):
            return super().forward(input)
        chances = _chances(input) if draws is None else draws.chances(input.shape, self.number)
        dropped = min(round(self.p * CHANCES), CHANCES - 1)  # the largest number in 16 bits
        kept = chances.ge_(dropped - CHANCES // 2)  # 1 or 0 in place: booleans are slow on a CPU
        return input * kept.to(input.dtype).mul_(1 / (1 - self.p) if self.p < 1 else 0.0)

    @property
    def drops_by_clip(self) -> bool:
        """Whether it now drops by the clips' seeds."""
        return self.training and self.p > 0 and _DRAWS.get() is not None


def replace_dropout(module: nn.Module) -> None:
    """Replace `nn.Dropout` by `Dropout` inside a module that another library built."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p, child.inplace))


def number_dropouts(module: nn.Module) -> None:
    """Give every `Dropout` inside a number of its own, from its name; without one, several would drop alike."""
    for name, part in module.named_modules():
        if isinstance(part, Dropout):
            part.number = _number_of(name)


@contextmanager
def drawn_from(seeds: Sequence[int], device: torch.device) -> Iterator[None]:
    """Context: the rows of a batch are clips with these seeds, and dropout depends on them alone."""
    with _drawing(_Draws(torch.tensor(seeds, dtype=torch.int64).to(device))):
        yield


@contextmanager
def drawn_apart(name: str) -> Iterator[None]:
    """Context: calls inside are counted separately, for a pass that some batches skip."""
    draws = _DRAWS.get()
    with _drawing(draws and replace(draws, seeds_N=_mixed(draws.seeds_N + _number_of(name)), calls={})):
        yield


@contextmanager
def drawn_for(owners: Tensor | Sequence[int], places: Tensor | Sequence[int]) -> Iterator[None]:
    """Context: rows inside are parts of clips; ``owners`` are their clips' rows, ``places`` their places in the clips.

    A part at place 0 draws as its clip would.
    """
    draws = _DRAWS.get()
    if draws is not None:
        owners_N, places_N = (torch.as_tensor(x, device=draws.seeds_N.device) for x in (owners, places))
        draws = replace(draws, seeds_N=draws.seeds_N[owners_N] + GOLDEN * places_N, parts=())
    with _drawing(draws):
        yield


@contextmanager
def drawn_in_parts(*lengths: int) -> Iterator[None]:
    """Context: a sequence inside is joined from parts of these lengths, each padded at its own end."""
    draws = _DRAWS.get()
    with _drawing(draws and replace(draws, parts=lengths)):
        yield


def random_numbers(like: Tensor) -> Tensor:
    """Return random whole numbers in the shape of (B, T): from the clips' seeds where they are announced."""
    draws = _DRAWS.get()
    if draws is None:
        return torch.empty(like.shape, dtype=torch.int64, device=like.device).random_(-(2**63), None)
    return _mixed(draws.called(0)[:, None] + _places((like.shape[1],), like.device))


@dataclass(frozen=True)
class _Draws:
    """Source of the draws: a seed per row, the parts of a sequence, and how often each module was called."""

    seeds_N: Tensor
    parts: tuple[int, ...] = ()
    calls: dict[int, int] = field(default_factory=dict)

    def called(self, number: int) -> Tensor:
        """Return the rows' seeds of a module's next call."""
        count = self.calls[number] = self.calls.get(number, 0) + 1
        return _mixed(self.seeds_N + (number + count))

    def chances(self, shape: Sequence[int], number: int) -> Tensor:
        """Return random numbers of -32768 to 32767; a longer axis has those of a shorter one, and more after them.

        Raises:
            ValueError: other rows, or another sequence, than were announced.
        """
        device = self.seeds_N.device
        if shape[0] != len(self.seeds_N) or (self.parts and (len(shape) < 3 or sum(self.parts) != shape[-2])):
            raise ValueError(
                f"dropout must get {len(self.seeds_N)} rows{self._sequence()}, but gets {tuple(shape)}. "
                "Announce what the rows are: see sonolex.nn.dropout."
            )
        seeds = self.called(number)
        for axis, size in enumerate(shape[1:-1], start=1):
            parts = self.parts if self.parts and axis == len(shape) - 2 else (size,)
            seeds = _mixed(seeds[..., None] + _places(parts, device))
        widths = self.parts if self.parts and len(shape) == 4 else (shape[-1],)
        words = tuple(-(-w // DRAWN_AT_ONCE) for w in widths)
        # The one large tensor: its inputs are mixed already, which saves it a round.
        numbers = _second_round(seeds[..., None] + _places(words, device)).view(torch.int16)
        if len(widths) == 1:
            return numbers[..., : widths[0]]
        parts = numbers.split([DRAWN_AT_ONCE * n for n in words], -1)
        return torch.cat([part[..., :w] for part, w in zip(parts, widths, strict=True)], -1)

    def _sequence(self) -> str:
        return f" of sequences of {' + '.join(map(str, self.parts))}" if self.parts else ""


_DRAWS: ContextVar[_Draws | None] = ContextVar("draws", default=None)


@contextmanager
def _drawing(draws: _Draws | None) -> Iterator[None]:
    before = _DRAWS.set(draws)
    try:
        yield
    finally:
        _DRAWS.reset(before)


def _mixed(numbers: Tensor) -> Tensor:
    """Return a hash of numbers, in place: SplitMix64's, but for a sign that torch shifts in on the way."""
    numbers ^= numbers >> 30
    return _second_round(numbers)


def _second_round(numbers: Tensor) -> Tensor:
    numbers *= FACTORS[0]
    numbers ^= numbers >> 27
    numbers *= FACTORS[1]
    high = numbers >> 32
    high &= LOW_HALF  # no signs here: every bit counts
    numbers ^= high
    return numbers


@lru_cache(maxsize=512)
def _places(parts: tuple[int, ...], device: torch.device) -> Tensor:
    """Return a number for every place of a sequence; those of a part do not depend on the length of another."""
    starts = [i * PART_PLACES for i in range(len(parts))]
    places = [torch.arange(start, start + n, device=device) for start, n in zip(starts, parts, strict=True)]
    return _mixed(torch.cat(places) * GOLDEN)


def _number_of(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") >> 2


def _chances(like: Tensor) -> Tensor:
    """Return random numbers of -32768 to 32767 from torch's generator, in the shape of a tensor."""
    numbers = torch.empty(-(-like.numel() // DRAWN_AT_ONCE), dtype=torch.int64).random_(-(2**63), None)
    return numbers.view(torch.int16)[: like.numel()].view(like.shape)
