"""The average of two trained models, with equal weights.

What is unusual about it: it has no paper and no training of its own. It holds two systems with a readout each (the
heads of their tasks), averages their answers (class probabilities, values, or tag probabilities), and appends the
average to the two members' pooled vectors. Both members' processors read a clip from the same samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import tee
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sonolex import configs
from sonolex.configs import from_json, one_of
from sonolex.files import load_object, save_json
from sonolex.processors.base import Processor, ProcessorConfig, label_fields
from sonolex.systems.base import System, SystemConfig, system_type
from sonolex.types import Batch, Encoding, Example, Padded

FIELDS = ("frames", "samples", "tokens")
SMALLEST = 1e-7  # of a probability, so that its logarithm is finite


@dataclass(frozen=True)
class Member:
    """A member's system, and a config of it (or of its processor) as JSON."""

    system: str
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.system == "average":
            raise ValueError("`system` of a member must be a single model, but is an average.")


@dataclass(frozen=True)
class AverageProcessorConfig(ProcessorConfig):
    """The members' processors, both at ``rate_hz``."""

    members: tuple[Member, ...] = (Member("statistics"), Member("statistics"))

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_two(self.members)
        rates = {self.rate_hz, *(m.rate_hz for m in self.of_members())}
        if len(rates) > 1:
            raise ValueError(f"`rate_hz` must be that of both members, but rates are {sorted(rates)}.")

    @property
    def longest_s(self) -> float:
        return min(config.longest_s for config in self.of_members())

    def of_members(self) -> list[Any]:
        """Return the configs of the members' processors."""
        types = [system_type(m.system).processor_type.config_type for m in self.members]
        pairs = zip(types, self.members, strict=True)
        return [from_json(t, m.config, where=f"processor of member {m.system}") for t, m in pairs]


class AverageProcessor(Processor):
    """Reads a clip with both members' processors."""

    config_type: ClassVar[type[AverageProcessorConfig]] = AverageProcessorConfig
    config: AverageProcessorConfig

    def __init__(self, config: AverageProcessorConfig, members: Sequence[Processor]):
        self.config, self.members = config, tuple(members)

    @classmethod
    def of(cls, systems: Sequence[str], members: Sequence[Processor]) -> AverageProcessor:
        """Return the processor of existing members."""
        configured = tuple(Member(s, configs.to_json(p.config)) for s, p in zip(systems, members, strict=True))
        return cls(AverageProcessorConfig(members[0].config.rate_hz, configured), members)

    @property
    def positions_per_second(self) -> int:
        return self.config.rate_hz

    def front(self, wave_S: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(wave_S))

    def finish(self, front: Tensor, clip_id: str) -> Tensor:
        return front

    def tokens(self, text: str, clip_id: str) -> Tensor:
        return self.members[0].tokens(text, clip_id)

    def example(self, clip_id: str, *, front: Tensor | None, text: str | None, **options: Any) -> Example:
        fronts = [None if front is None else m.front(front.numpy()) for m in self.members]
        pairs = zip(self.members, fronts, strict=True)
        both = tuple(m.example(clip_id, front=f, text=text, **options) for m, f in pairs)
        first = both[0]
        return ExampleOfTwo(clip_id, front, first.tokens_L, first.labels, first.seed, first.other_labels, both=both)

    def collate(self, examples: Sequence[Example]) -> Batch:
        extras: dict[str, Padded] = {}
        for number, member in enumerate(self.members):
            batch = member.collate([e.both[number] for e in examples if isinstance(e, ExampleOfTwo)])
            inputs = {name: getattr(batch, name) for name in FIELDS}
            extras |= {f"{number}.{name}": x for name, x in inputs.items() if x is not None}
        ids, seeds = tuple(e.clip_id for e in examples), tuple(e.seed for e in examples)
        return Batch(ids, seeds=seeds, extras=extras, **label_fields(examples))

    def save(self, folder: Path) -> None:
        save_json(folder / "processor_config.json", self.config)
        for number, member in enumerate(self.members):
            place = folder / f"member-{number}"
            place.mkdir()
            member.save(place)

    @classmethod
    def load(cls, folder: Path) -> AverageProcessor:
        file = folder / "processor_config.json"
        config = from_json(cls.config_type, load_object(file), where=str(file))
        types = [system_type(m.system).processor_type for m in config.members]
        members = [t.load(folder / f"member-{i}") for i, t in enumerate(types)]
        wanted = [configs.to_json(c) for c in config.of_members()]
        if [configs.to_json(m.config) for m in members] != wanted:
            raise ValueError(f"{file} must match the configs in the members' folders, but does not. Copy it again.")
        return cls(config, members)

    @classmethod
    def create(
        cls,
        config: Any,
        *,
        transcripts: Sequence[str],
        waves: Iterable[np.ndarray] = (),
        pairs: Iterable[tuple[np.ndarray, str]] = (),
    ) -> AverageProcessor:
        types = [system_type(m.system).processor_type for m in config.members]
        parts = zip(types, config.of_members(), tee(waves), tee(pairs), strict=True)
        return cls(config, [t.create(c, transcripts=transcripts, waves=w, pairs=p) for t, c, w, p in parts])


@dataclass
class ExampleOfTwo(Example):
    """A clip as both members read it; ``audio`` is its samples, whose length decides the size of batches."""

    both: tuple[Example, ...] = ()


@dataclass(frozen=True)
class AverageConfig(SystemConfig):
    """The members, and the kind of answers that are averaged.

    Attributes:
        num_outputs: classes, tags, or 1 for a value.
        of: "classes" (probabilities that sum to 1), "tags" (a probability each) or "values".
    """

    members: tuple[Member, ...] = (Member("statistics"), Member("statistics"))
    num_outputs: int = 2
    of: str = "classes"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_two(self.members)
        one_of("of", self.of, ("classes", "tags", "values"))
        if not 1 <= self.num_outputs <= 10_000:
            raise ValueError(f"`num_outputs` must be 1 to 10000, but is {self.num_outputs}.")


class Average(System):
    """Two systems, a linear readout of each, and the average of the readouts."""

    name = "average"
    config_type = AverageConfig
    processor_type = AverageProcessor
    accepts = frozenset({frozenset({"audio", "text"}), frozenset({"audio"}), frozenset({"text"})})
    config: AverageConfig

    def __init__(self, config: AverageConfig):
        super().__init__()
        self.config = config
        kinds = [system_type(m.system) for m in config.members]
        systems = [
            k(from_json(k.config_type, m.config, where=f"member {m.system}"))  # type: ignore[call-arg]
            for k, m in zip(kinds, config.members, strict=True)
        ]
        self._hold(systems, [nn.Linear(s.pooled_dim, config.num_outputs) for s in systems])

    @classmethod
    def of(cls, members: Sequence[System], readouts: Sequence[nn.Linear], *, of: str) -> Average:
        """Return the average of existing systems and readouts."""
        config = AverageConfig(
            tuple(Member(s.name, configs.to_json(s.config)) for s in members), readouts[0].out_features, of
        )
        average = cls(config)
        average._hold(members, readouts)
        return average

    def _hold(self, members: Sequence[System], readouts: Sequence[nn.Linear]) -> None:
        self.members, self.readouts = nn.ModuleList(members), nn.ModuleList(readouts)
        # The average needs an input that both members can read.
        self.accepts = frozenset.intersection(*(m.accepts for m in members))  # type: ignore[misc]

    @classmethod
    def matched(cls, config: Any, processor: Any) -> Any:
        members = []
        for member, member_processor in zip(config.members, processor.members, strict=True):
            kind = system_type(member.system)
            before = from_json(kind.config_type, member.config, where=f"member {member.system}")
            members.append(replace(member, config=configs.to_json(kind.matched(before, member_processor))))
        return replace(config, members=tuple(members))

    @classmethod
    def starter(cls, *, num_clips: int, longest_s: float) -> tuple[AverageConfig, AverageProcessorConfig]:
        return AverageConfig(), AverageProcessorConfig()

    @property
    def pooled_dim(self) -> int:
        return sum(m.pooled_dim for m in self._systems()) + self.config.num_outputs

    def encode(self, batch: Batch) -> Encoding:
        if not batch.extras:
            raise ValueError(f"a batch must have audio or text, but clips {batch.clip_ids} have neither.")
        pooled, outputs = [], []
        for number, (member, readout) in enumerate(zip(self._systems(), self.readouts, strict=True)):
            inputs = {n: batch.extras.get(f"{number}.{n}") for n in FIELDS}
            pooled_BD = member.encode(Batch(batch.clip_ids, seeds=batch.seeds, **inputs)).pooled_BD  # type: ignore[arg-type]
            pooled.append(pooled_BD)
            outputs.append(readout(pooled_BD))
        return Encoding(torch.cat([*pooled, self._averaged(*outputs)], -1))

    def layer_groups(self) -> dict[str, list[nn.Module]]:
        return {"members": list(self.members), "readouts": list(self.readouts)}

    def _averaged(self, first_BC: Tensor, second_BC: Tensor) -> Tensor:
        """Return the average in the form that a task's head passes through: log-probabilities, log-odds or values."""
        if self.config.of == "values":
            return (first_BC + second_BC) / 2
        if self.config.of == "tags":
            return torch.logit((first_BC.sigmoid() + second_BC.sigmoid()) / 2, eps=SMALLEST)
        return ((first_BC.softmax(-1) + second_BC.softmax(-1)) / 2).clamp_min(SMALLEST).log()

    def _systems(self) -> list[System]:
        return [m for m in self.members if isinstance(m, System)]


def _require_two(members: Sequence[Member]) -> None:
    if len(members) != 2:
        raise ValueError(f"`members` must be two, but are {len(members)}.")


SYSTEM = Average
