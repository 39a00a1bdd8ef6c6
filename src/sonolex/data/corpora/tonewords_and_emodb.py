"""ToneWords' four tones beside the same four emotions of EMO-DB: speech of a machine, and of German actors.

The column ``tone`` is EMO-DB's ``emotion``; ``corpus`` says where a clip is from. Text tells nothing: EMO-DB's speakers
share their sentences, and ToneWords' tones are independent of the words.
"""

from __future__ import annotations

from pathlib import Path

from sonolex.data.corpora import emodb, tonewords
from sonolex.data.manifest import Manifest, concatenate


def prepare(
    root: str | Path | None = None, *, size: str = "small", languages: tuple[str, ...] = ("de", "en")
) -> Manifest:
    """Return both corpora.

    Args:
        root: folder of EMO-DB; default: its own.
        size, languages: of ToneWords.
    """
    acted = emodb.prepare(root, emotions=tonewords.TONES)
    acted = acted.with_column("tone", acted.column("emotion"))
    parts = {"tonewords": tonewords.prepare(size=size, languages=languages), "emodb": acted}
    return concatenate([m.with_column("corpus", [name] * len(m)) for name, m in parts.items()])
