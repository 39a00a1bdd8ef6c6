"""Join streams into one marked sequence, as BERT reads two sentences, and split its states again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonolex.nn.dropout import Dropout, drawn_in_parts
from sonolex.types import Padded

TEXT, AUDIO = 0, 1  # rows of the segment table: BERT's first and second sentence


@dataclass(frozen=True)
class Joined:
    """[CLS] text [SEP] audio [SEP] of a batch.

    ``x_BLD`` and ``valid_BL`` have the text in the first ``num_text`` places and the audio, with its end token, after
    them; a clip's positions count its own tokens, so the padding between the two changes nothing. ``parts`` are the
    lengths that are padded separately: of the text, and of the audio (at each rate, where there are several).
    """

    x_BLD: Tensor
    valid_BL: Tensor
    parts: tuple[int, ...]

    @property
    def num_text(self) -> int:
        return self.parts[0]

    def split(self, states_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states of text (B, L, D) and audio (B, T, D, empty where there is none)."""
        return states_BLD[:, : self.num_text], states_BLD[:, self.num_text :]


class JoinedEmbedding(nn.Module):
    """BERT's embedding of tokens followed by vectors: content + position + segment, LayerNorm, dropout.

    Args:
        num_positions: BERT's table; text and audio of a clip share it.
        start_id, end_id: tokens that open the sequence and close each part.
        time_positions: rows of a table of the audio's own positions, which count from its start (CALM); 0
            continues the text's positions in the one table, as BERT does for its second sentence.
    """

    def __init__(
        self,
        vocab_size: int,
        num_positions: int,
        width: int,
        *,
        start_id: int,
        end_id: int,
        dropout: float,
        eps: float,
        time_positions: int = 0,
    ):
        super().__init__()
        self.start_id, self.end_id = start_id, end_id
        self.token = nn.Embedding(vocab_size, width)
        self.position = nn.Embedding(num_positions, width)
        self.modality = nn.Embedding(2, width)
        self.time = nn.Embedding(time_positions, width) if time_positions else None
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        tokens: Padded | None,
        audio: Padded | None,
        *,
        audio_times_T: Tensor | None = None,
        audio_parts: tuple[int, ...] = (),
    ) -> Joined:
        """Return the joined sequence. A clip without text has [CLS] alone in its place; without audio, nothing.

        Args:
            tokens: (B, L), with start and end token.
            audio: audio tokens (B, T, D) of the model's width; the end token is added here, after the last valid one.
            audio_times_T: positions of the audio tokens and of one more place; by default 0, 1, 2, …
            audio_parts: lengths of the parts of the audio that are padded separately; by default one part.

        Raises:
            ValueError: a part alone needs more positions than there are, or the batch is empty.
        """
        some = audio if audio is not None else tokens
        if some is None:
            raise ValueError("a batch must have text or audio to be joined, but has neither.")
        size, device = some.valid.shape[0], some.valid.device
        if tokens is None:
            tokens_BL = torch.full((size, 1), self.start_id, device=device)
            tokens_valid_BL = torch.ones(size, 1, dtype=torch.bool, device=device)
        else:
            tokens_BL, tokens_valid_BL, _ = tokens
            without_B = ~tokens_valid_BL.any(1)
            first_BL = without_B[:, None] & (torch.arange(tokens_BL.shape[1], device=device) == 0)
            tokens_BL = tokens_BL.masked_fill(first_BL, self.start_id)
            tokens_valid_BL = tokens_valid_BL | first_BL
        num_text = tokens_BL.shape[1]
        self._require_room("num_positions", num_text)
        x_BLD = self.token(tokens_BL) + self.modality.weight[TEXT]
        places_BL = torch.arange(num_text, device=device).expand(size, -1)
        x_BLD = x_BLD + self.position(places_BL * tokens_valid_BL)  # padding takes position 0
        if audio is None:
            return Joined(self._finished(x_BLD, (num_text,)), tokens_valid_BL, (num_text,))
        *earlier, last = audio_parts or (audio.valid.shape[1],)
        audio_BTD, audio_valid_BT = self._ended(audio.values, audio.valid)
        audio_BTD = audio_BTD.to(x_BLD.dtype) + self.modality.weight[AUDIO]
        if audio_times_T is None:
            audio_times_T = torch.arange(audio_BTD.shape[1], device=device)
        times_BT, table = audio_times_T.expand(size, -1), self.time
        if table is None:
            times_BT, table = times_BT + tokens_valid_BL.sum(1, keepdim=True), self.position
        self._require_room("num_positions" if self.time is None else "time_positions", max(*earlier, last, 0) + 1)
        audio_BTD = audio_BTD + table(times_BT * audio_valid_BT)
        valid_BL = torch.cat([tokens_valid_BL, audio_valid_BT], 1)
        parts = (num_text, *earlier, last + 1)  # the end token follows the last part
        return Joined(self._finished(torch.cat([x_BLD, audio_BTD], 1), parts), valid_BL, parts)

    def _require_room(self, name: str, longest: int) -> None:
        table = self.time if name == "time_positions" and self.time is not None else self.position
        if longest > table.num_embeddings:
            raise ValueError(
                f"a clip must have at most {table.num_embeddings} tokens ({name}; text and audio together unless audio "
                f"has its own), but has {longest}. Raise it, lower max_tokens, or let an audio token cover more."
            )

    def _finished(self, x_BLD: Tensor, parts: tuple[int, ...]) -> Tensor:
        with drawn_in_parts(*parts):
            return self.dropout(self.norm(x_BLD))

    def _ended(self, audio_BTD: Tensor, valid_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return audio with the end token's embedding after each clip's last vector; clips without audio get none."""
        size, num_audio, width = audio_BTD.shape
        audio_BTD = torch.cat([audio_BTD, audio_BTD.new_zeros(size, 1, width)], 1)
        places_T = torch.arange(num_audio + 1, device=audio_BTD.device)
        end_B1 = (valid_BT * places_T[1:]).amax(1, keepdim=True)  # the place after the last valid one; 0: no audio
        end_BT = (places_T == end_B1) & (end_B1 > 0)
        end_D = self.token.weight[self.end_id].to(audio_BTD.dtype)
        return torch.where(end_BT[..., None], end_D, audio_BTD), F.pad(valid_BT, (0, 1)) | end_BT
