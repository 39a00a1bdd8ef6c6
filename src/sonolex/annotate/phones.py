"""Write how transcripts are pronounced into a manifest: phones from a lexicon, or from espeak-ng.

``phones`` then holds what `SpeechAndLettersConfig.symbols` = "words" reads: phones separated by spaces, and ``|``
between words. A word that the lexicon lacks is never guessed, unless a voice is named for such words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from sonolex.data.manifest import Manifest, read_manifest

COLUMN, WORD_BORDER = "phones", "|"
STRESS = "ˈˌ"


def read_lexicon(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Return the first pronunciation of every word of a file in CMUdict's format: a word, then its phones.

    Lines that begin with ";;;" are comments; "WORD(2)" is a second pronunciation; digits (stress) are dropped.

    Raises:
        ValueError: a line without phones, by number.
    """
    pronunciations: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        words = line.split(" #")[0].split()
        if not words or line.startswith(";;;"):
            continue
        if len(words) == 1:
            raise ValueError(f"line {number} of {path} must be a word and its phones, but is {line.strip()!r}.")
        name = re.sub(r"\(\d+\)$", "", words[0]).lower()
        pronunciations.setdefault(name, tuple(re.sub(r"\d", "", phone) for phone in words[1:]))
    return pronunciations


def add_phones(
    manifest: str | Path, *, out: str | Path, lexicon: str | Path | None = None, voice: str | None = None
) -> Manifest:
    """Return the manifest with a column ``phones`` for all its transcripts, and write it to ``out``.

    Args:
        lexicon: file in CMUdict's format.
        voice: of espeak-ng ("en-us", "de"), for all words, or with ``lexicon`` for those it lacks.

    Raises:
        ValueError: neither is given, ``out`` is the input, or words that the lexicon lacks.
        ImportError: espeak-ng is missing (extra: demo).
    """
    if lexicon is None and voice is None:
        raise ValueError("`lexicon` or `voice` must say how words are pronounced, but neither is given.")
    if Path(out).resolve() == Path(manifest).resolve():
        raise ValueError(f"`out` must be another file than the manifest, but both are {out}.")
    clips = read_manifest(manifest)
    known = dict(read_lexicon(lexicon)) if lexicon is not None else {}
    words = sorted({w for text in clips.column("text") for w in words_of(text or "")} - set(known))
    if words and voice is None:
        raise ValueError(
            f"{lexicon} must have every word of the transcripts, but lacks {len(words)}, for example {words[0]!r}. Add "
            "them, or name a `voice` of espeak-ng for them."
        )
    known |= {word: _spoken(word, str(voice)) for word in words}
    filled = clips.with_column(COLUMN, [pronounced(text, known) if text else None for text in clips.column("text")])
    filled.write(out)
    return filled


def words_of(text: str) -> list[str]:
    """Return the words of a transcript as a lexicon has them: lower-case, without punctuation.

    >>> words_of("Don't go, Anna-Lena!")
    ["don't", 'go', 'anna', 'lena']
    """
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower().replace("’", "'"))


def pronounced(text: str, known: Mapping[str, tuple[str, ...]]) -> str:
    """Return the phones of a transcript.

    >>> pronounced("A cat", {"a": ("AH",), "cat": ("K", "AE", "T")})
    'AH | K AE T'
    """
    return f" {WORD_BORDER} ".join(" ".join(known[word]) for word in words_of(text))


def _spoken(word: str, voice: str) -> tuple[str, ...]:
    from sonolex.data import espeak

    phones = [phone.strip(STRESS) for phone in espeak.phones(word, voice=voice)]
    return tuple(phone for phone in phones if phone)
