from __future__ import annotations

from sonolex.data.corpora import esc10_captions, esc10_questions


def test_captions_name_the_sound(shared_data):
    manifest = esc10_captions.prepare(shared_data / "esc10")
    for clip, sound in zip(manifest, manifest.column("sound"), strict=True):
        assert esc10_questions.WORDS[sound] in clip.text
    assert len({t for t, s in zip(manifest.column("text"), manifest.column("sound"), strict=True) if s == "rain"}) == 4
