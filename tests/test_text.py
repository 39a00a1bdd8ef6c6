from __future__ import annotations

import json

import pytest

from sonolex import text

LINES = ["the quick brown fox", "jumps over the lazy dog", "grüße aus köln", "日本語 🙂"] * 5


def test_special_tokens_have_robertas_ids_and_no_byte_is_unknown():
    tokenizer = text.train_byte_bpe(LINES, vocab_size=300)
    assert [tokenizer.token_to_id(t) for t in text.SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    for line in [*LINES, "völlig unbekannt \x07 ∑"]:
        ids = text.token_ids(tokenizer, line)
        assert ids[0] == text.START_ID and ids[-1] == text.END_ID and text.UNKNOWN_ID not in ids
        assert tokenizer.decode(ids[1:-1]) == line


def test_training_twice_gives_the_same_tokenizer():
    first, second = (text.train_byte_bpe(LINES, vocab_size=320).to_str() for _ in range(2))
    assert first == second


def test_a_saved_tokenizer_loads_from_both_forms(tmp_path):
    tokenizer = text.train_byte_bpe(LINES, vocab_size=300)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert text.load_tokenizer(tmp_path).to_str() == tokenizer.to_str()
    (tmp_path / "pair").mkdir()
    tokenizer.model.save(str(tmp_path / "pair"))
    again = text.load_tokenizer(tmp_path / "pair")
    assert all(text.token_ids(again, line) == text.token_ids(tokenizer, line) for line in LINES)
    with pytest.raises(FileNotFoundError, match=r"vocab\.json"):
        text.load_tokenizer(tmp_path / "nowhere")


def test_too_small_vocabularies_are_refused():
    with pytest.raises(ValueError, match="at least 261"):
        text.train_byte_bpe(LINES, vocab_size=100)


def test_ctals_clean_up_lowers_and_drops_four_marks():
    assert text.clean_ctal("No!  It's 3.5, isn't it?") == "no it's 3 5 isn't it"


def test_wordpiece_is_the_same_in_every_process():
    import subprocess
    import sys

    code = "from sonolex.text import train_wordpiece; lines = ['one two three four', 'is there a rooster?'] * 4; "
    code += "print(sorted(train_wordpiece(lines, vocab_size=70).get_vocab().items(), key=lambda item: item[1]))"
    found = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(4)}
    assert len(found) == 1 and "rooster" in next(iter(found))
    with pytest.raises(ValueError, match="at least 9"):
        text.train_wordpiece(["ab"], vocab_size=8)


def test_a_model_of_words_must_have_its_unknown_token_in_its_own_table(tmp_path):
    """An added token is found by its name, but not by the model, which then fails at the first unknown word."""
    tokenizer = text.train_wordpiece(["one two three four"] * 4, vocab_size=60)
    saved = json.loads(tokenizer.to_str())
    words = saved["model"]["vocab"]
    words["[UNX]"] = words.pop("[UNK]")
    next(t for t in saved["added_tokens"] if t["content"] == "[UNK]")["id"] = len(words)
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved))
    with pytest.raises(ValueError, match=r"tokenizer.json must have its token for unknown words, '\[UNK\]'"):
        text.load_tokenizer(tmp_path)


def test_a_tokenizer_that_fails_is_a_value_error():
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.WordLevel({t: i for i, t in enumerate(text.SPECIAL_TOKENS)}, unk_token="[none]"))
    with pytest.raises(ValueError, match=r"readable for the model's tokenizer, but 'word' is not: .*\[none\]|\[UNK\]"):
        text.token_ids(tokenizer, "word")


def test_padding_and_truncation_of_a_saved_tokenizer_are_left_out(tmp_path):
    tokenizer = text.train_wordpiece(["one two three four"] * 4, vocab_size=60)
    tokenizer.enable_padding(length=16)
    tokenizer.enable_truncation(2)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    whole = text.token_ids(text.train_wordpiece(["one two three four"] * 4, vocab_size=60), "one two three four")
    assert text.token_ids(text.load_tokenizer(tmp_path), "one two three four") == whole


def test_broken_tokenizer_files_are_refused_by_their_names(tmp_path):
    """Every one ended in a traceback: the library raises Exception itself."""
    broken = (b"", b"{", b"[1]", b"null", b"\0" * 99, b"[" * 100_000, bytes(range(256)), b'{"model": {"type": "BPE"}}')
    for number, content in enumerate(broken):
        for files in (("tokenizer.json",), ("vocab.json", "merges.txt"), ("merges.txt", "vocab.json")):
            folder = tmp_path / f"{number}{files[0]}{len(files)}"
            folder.mkdir()
            (folder / files[0]).write_bytes(content)
            if len(files) == 2:
                (folder / files[1]).write_text('{"a": 0}' if files[1] == "vocab.json" else "#version: 0.2\n")
            if files[0] == "merges.txt" and content == b"":
                continue  # no merges are allowed
            with pytest.raises(ValueError) as refused:
                text.load_tokenizer(folder)
            assert str(folder) in str(refused.value) and len(str(refused.value).splitlines()) == 1


def test_a_vocabulary_with_gaps_or_settings_of_another_type_is_refused(tmp_path):
    tokenizer = text.train_byte_bpe(LINES, vocab_size=300)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    values = json.loads((tmp_path / "tokenizer.json").read_text())
    values["model"]["vocab"]["zzz"] = 10**6
    (tmp_path / "tokenizer.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"tokenizer\.json must number its \d+ tokens .* ids up to 1000000"):
        text.load_tokenizer(tmp_path)
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join([*text.BERT_TOKENS, "a"]))
    for settings in ("{", "[]", '{"do_lower_case": "yes"}'):
        (tmp_path / "bert" / "tokenizer_config.json").write_text(settings)
        with pytest.raises(ValueError, match=r"tokenizer_config\.json"):
            text.load_tokenizer(tmp_path / "bert")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "spm_char.model").write_bytes(b"no model")
    pytest.importorskip("sentencepiece")
    with pytest.raises(ValueError, match=r"spm_char\.model must be a tokenizer"):
        text.load_tokenizer(tmp_path / "letters")


def letters_model(folder, letters="ab"):
    """A sentencepiece model of letters as SpeechT5's, built by hand: pieces without merges."""
    sentencepiece_model = pytest.importorskip("sentencepiece.sentencepiece_model_pb2")
    model = sentencepiece_model.ModelProto()
    for number, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", "▁", *letters]):
        kind = {3: 2}.get(number, 3 if number < 3 else 1)  # unknown, control, normal
        model.pieces.add(piece=piece, score=-float(number), type=kind)
    model.trainer_spec.model_type = 4  # letters
    model.trainer_spec.unk_id, model.trainer_spec.bos_id, model.trainer_spec.eos_id = 3, 0, 2
    model.trainer_spec.pad_id = 1
    (folder / "spm_char.model").write_bytes(model.SerializeToString())


def test_added_tokens_say_which_rows_mask_and_blank_have(tmp_path):
    """The sentence model alone is two rows short of SpeechT5's embedding."""
    letters_model(tmp_path)
    assert text.load_tokenizer(tmp_path).get_vocab_size() == 9
    (tmp_path / "added_tokens.json").write_text('{"<ctc_blank>": 10, "<mask>": 9}')
    tokenizer = text.load_tokenizer(tmp_path)
    ids = {name: tokenizer.token_to_id(name) for name in ("a", "b", "<mask>", "<ctc_blank>")}
    assert ids == {"a": 5, "b": 6, "<mask>": 9, "<ctc_blank>": 10} and tokenizer.get_vocab_size() == 11
    assert tokenizer.encode("ab a").ids[-2:] == [4, 5]
    for wrong in (
        '{"<mask>": 9}',
        '{"<ctc_blank>": 6, "<mask>": 9}',
        '{"<ctc_blank>": 9, "<mask>": 9}',
        '{"<ctc_blank>": 1e9, "<mask>": 9}',
        '{"<ctc_blank>": [1], "<mask>": 9}',
    ):
        (tmp_path / "added_tokens.json").write_text(wrong)
        with pytest.raises(ValueError, match=r"added_tokens\.json must give <mask> and <ctc_blank> ids from 7 to"):
            text.load_tokenizer(tmp_path)
