"""Train networks one after the other while there is time, and drop hopeless ones after their first training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sonolex.data.manifest import Manifest
from sonolex.doors.fit.contest import NetworkCandidate, SmallCandidate
from sonolex.doors.fit.networks import Network, Trainer, started_epochs
from sonolex.doors.fit.readable import readable_by
from sonolex.doors.fit.settings import Settings
from sonolex.doors.fit.verdict import called

Say = Callable[[str], None]
LEAST_S = 10.0  # for a network: measuring how fast it trains takes about as long


@dataclass
class Schedule:
    """Which networks are trained, and for how long.

    Attributes:
        clips: the table's clips.
        remark: prints a line that also belongs to the verdict.
    """

    trainer: Trainer
    clips: Manifest
    say: Say
    remark: Say

    @property
    def _settings(self) -> Settings:
        return self.trainer.settings

    def trained(
        self, networks: Sequence[Network], small: Sequence[SmallCandidate]
    ) -> tuple[list[NetworkCandidate], dict[str, int]]:
        """Train networks while there is time; return those that were trained, and the epochs of each."""
        minutes = self._settings.minutes_for(len(self.clips))
        if networks:
            self.say(f"time for networks: {minutes:g} minutes (--minutes)")
        left_s, candidates, epochs = 60 * minutes, [], {}
        for number, network in enumerate(networks):
            problem = self._unfit(network)
            if problem:
                self.remark(f"{called(network.name)} was not tried: {problem}.")
                continue
            affordable = self._epochs(network, left_s / (len(networks) - number))
            if not affordable:
                continue
            epochs[network.name] = affordable
            began, answers = time.monotonic(), {}
            pairs = self.trainer.pairs()
            for place, pair in enumerate(pairs, start=1):
                self.say(f"training {network.name}, {affordable} epochs, {place} of {len(pairs)}")
                answers[pair] = self.trainer.answers(network, pair, affordable)
                if place == 1 and len(pairs) > 1 and self._is_hopeless(network, pair, answers[pair], small):
                    break
            left_s -= time.monotonic() - began
            if len(answers) < len(pairs):
                continue
            candidates.append(NetworkCandidate(network.name, answers, self.trainer.blocks))
            stopped = self.trainer.stopped_early(network)
            if stopped:
                self.remark(f"{called(network.name)} {stopped}.")
        return candidates, epochs

    def _is_hopeless(
        self, network: Network, pair: frozenset[int], answers: Mapping[int, np.ndarray], small: Sequence[SmallCandidate]
    ) -> bool:
        """Return whether a network's first training is so far below the small models that more would be a waste.

        It is judged on the one block that chooses for the first reported one, by a gap of more than two standard errors
        of a share.
        """
        if self._settings.system is not None:
            return False
        first = self.trainer.blocks.reports[0]
        (other,) = pair - {first}
        rows = self.trainer.blocks.rows[other]
        score = self.trainer.question.score(rows, answers[other])
        best = max(self.trainer.question.score(rows, c.choosing(frozenset({first}))[other]) for c in small)
        room = 2 * (0.25 / len(rows)) ** 0.5 if self.trainer.question.classes else abs(best)
        if score >= best - room:
            return False
        self.remark(
            f"{called(network.name)} was dropped after the first of its trainings, {best - score:.2f} below the best "
            "small model on clips new to both."
        )
        return True

    def _unfit(self, network: Network) -> str:
        """Return why a network cannot read this table, empty if it can."""
        try:
            readable_by(network, self.clips, skip_bad=False)
        except ValueError as e:
            return str(e).splitlines()[0].rstrip(".")
        return ""

    def _epochs(self, network: Network, seconds: float) -> int:
        """Return the number of epochs that the time allows for a network; 0 if that is too few."""
        pair = self.trainer.pairs()[0]
        count = len(self.trainer.blocks.learned(pair))
        wanted = self.trainer.wanted_epochs(count)
        begun = started_epochs(self.trainer.folder(network, pair))
        if begun:
            return self._for_epochs(network, begun, wanted)
        if seconds < LEAST_S and self._settings.system is None:
            self.remark(f"{called(network.name)} was not tried: only {seconds:.0f} s were left for it (--minutes).")
            return 0
        trainings = len(self.trainer.pairs()) + (1 if self.trainer.blocks.crossed else 0)
        whole = self.trainer.seconds_per_clip(network) * count * trainings
        affordable = min(wanted, int(seconds / max(whole, 1e-9)))
        if affordable < min(wanted, self.trainer.fewest_epochs) and self._settings.system is None:
            need = min(wanted, self.trainer.fewest_epochs) * whole / 60
            self.remark(
                f"{called(network.name)} was not tried: {trainings} trainings of it take at least {need:.0f} minutes "
                f"(--minutes), and {seconds / 60:.1f} were left for it."
            )
            return 0
        return self._for_epochs(network, max(affordable, min(wanted, self.trainer.fewest_epochs)), wanted)

    def _for_epochs(self, network: Network, epochs: int, wanted: int) -> int:
        if epochs < wanted:
            self.remark(f"{called(network.name)} was stopped by time at {epochs} of {wanted} epochs (--minutes).")
        return epochs
