from __future__ import annotations

import numpy as np
import pytest
import torch

from sonolex.audio import features


def noise(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=int(seconds * rate))).astype(np.float32)


def test_librosa_log_mel_and_delta_equal_librosa():
    librosa = pytest.importorskip("librosa")
    wave = noise(3.0)
    mel = librosa.feature.melspectrogram(y=wave, sr=16_000, n_fft=2048, win_length=800, hop_length=200, n_mels=80)
    expected = np.log(mel + 1e-6)
    ours = features.librosa_log_mel(torch.from_numpy(wave))
    assert np.abs(ours.numpy() - expected.T).max() < 1e-3
    assert np.abs(features.delta(ours).numpy() - librosa.feature.delta(expected).T).max() < 1e-3


@pytest.mark.parametrize("window", ["hanning", "povey"])
def test_kaldi_fbank_equals_kaldi_native_fbank(window):
    knf = pytest.importorskip("kaldi_native_fbank")
    wave = noise(2.0)
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.window_type = window
    options.mel_opts.num_bins = 128
    options.use_energy = False
    reference = knf.OnlineFbank(options)
    reference.accept_waveform(16_000, wave.tolist())
    reference.input_finished()
    expected = np.stack([reference.get_frame(i) for i in range(reference.num_frames_ready)])
    ours = features.kaldi_fbank(torch.from_numpy(wave), window=window)
    assert ours.shape == expected.shape
    assert np.abs(ours.numpy() - expected).max() < 1e-3


def test_padding_a_batch_with_zeros_changes_no_frame_of_a_clip():
    waves = [torch.from_numpy(noise(s, seed=i)) for i, s in enumerate((0.31, 1.0, 0.7))]
    padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    together = features.librosa_log_mel(padded)
    fbank = features.kaldi_fbank(padded)
    for i, wave in enumerate(waves):
        alone = features.librosa_log_mel(wave)
        assert torch.allclose(together[i, : len(alone)], alone, atol=1e-5)
        alone = features.kaldi_fbank(wave)
        assert torch.allclose(fbank[i, : len(alone)], alone, atol=1e-5)


def test_delta_respects_each_clips_own_end():
    frames = torch.randn(2, 30, 3)
    valid = torch.arange(30)[None] < torch.tensor([[30], [17]])
    batched = features.delta(frames, valid)
    assert torch.allclose(batched[1, :17], features.delta(frames[1, :17]), atol=1e-6)
    assert (batched[1, 17:] == 0).all()


def test_delta_of_a_ramp_is_its_slope_by_hand():
    ramp = torch.arange(12.0)[:, None] * 2.5
    assert torch.allclose(features.delta(ramp), torch.full((12, 1), 2.5))


@pytest.mark.parametrize("num_frames", [1, 2, 3, 5, 8])
def test_delta_of_short_clips_is_finite(num_frames):
    assert features.delta(torch.randn(num_frames, 4)).isfinite().all()


def test_features_are_differentiable():
    wave = torch.from_numpy(noise(0.3)).requires_grad_()
    (features.librosa_log_mel(wave).sum() + features.kaldi_fbank(wave).sum()).backward()
    assert wave.grad is not None and wave.grad.isfinite().all() and wave.grad.abs().sum() > 0


def test_normalised_utterance_has_mean_zero_deviation_one_and_silence_is_zero():
    frames = torch.cat([torch.randn(50, 3) * 4 + 7, torch.full((50, 1), -13.8)], 1)
    normal = features.normalise_utterance(frames)
    assert torch.allclose(normal.mean(0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(normal[:, :3].std(0, correction=0), torch.ones(3), atol=1e-4)
    assert (normal[:, 3] == 0).all()


def test_too_short_audio_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        features.librosa_log_mel(torch.zeros(0))
    with pytest.raises(ValueError, match="at least one window"):
        features.kaldi_fbank(torch.zeros(100))
    with pytest.raises(ValueError, match="hanning"):
        features.kaldi_fbank(torch.zeros(1000), window="boxcar")
