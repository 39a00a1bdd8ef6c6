"""Audio front end: log-mel against librosa, kaldi-native-fbank, lhotse and transformers; decoding; resampling.

Whatever has one thread in seconds of its core; two workers by the clock, and for them two cores must be free.
"""

from __future__ import annotations

import io
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks._timing import claim, interleaved, ratio, table
from sonolex.audio import features
from sonolex.audio.io import read_audio

RATE, SECONDS, CLIPS = 16_000, 10, 8
SHORT_ROUNDS = 25  # of cases of a few milliseconds, which another program's turn makes several times as long


def run() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    wave = (0.1 * np.random.default_rng(0).normal(size=RATE * SECONDS)).astype(np.float32)
    # glibc keeps freed memory only up to the largest block freed so far: be like a process that has been running.
    np.ones(3_000_000)
    # A peer's BLAS threads go on spinning for milliseconds after its turn, on the core of our second worker.
    with threadpool_limits(1):
        _decoding(wave)
        _resampling(wave)
        _log_mel(wave)


def _ctal(tensor: torch.Tensor) -> torch.Tensor:
    mel = features.librosa_log_mel(tensor)
    return features.normalise_utterance(torch.cat([mel, features.delta(mel)], -1))


def _log_mel(wave: np.ndarray) -> None:
    import kaldi_native_fbank as knf
    import librosa
    from lhotse import Fbank, FbankConfig
    from transformers import ASTFeatureExtractor

    tensor = torch.from_numpy(wave)
    extractor = ASTFeatureExtractor(max_length=1024, num_mel_bins=128)
    lhotse_fbank = Fbank(FbankConfig(num_mel_bins=128))
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 128

    def kaldi() -> None:
        fbank = knf.OnlineFbank(options)
        fbank.accept_waveform(RATE, wave.tolist())
        fbank.input_finished()
        np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])

    def librosa_ctal() -> np.ndarray:
        mel = librosa.feature.melspectrogram(y=wave, sr=RATE, n_fft=2048, win_length=800, hop_length=200, n_mels=80)
        log = np.log(mel + 1e-6)
        joined = np.concatenate([log, librosa.feature.delta(log)])
        return (joined - joined.mean(1, keepdims=True)) / (joined.std(1, keepdims=True) + 1e-16)

    peers = {
        "HF ASTFeatureExtractor": lambda: extractor(wave, sampling_rate=RATE, return_tensors="pt"),
        "librosa, CTAL 160": librosa_ctal,
    }
    one_thread = {
        **peers,
        "lhotse Fbank": lambda: lhotse_fbank.extract(wave, RATE),
        "kaldi-native-fbank": kaldi,
        "ours, kaldi fbank 128": lambda: features.kaldi_fbank(tensor),
        "ours, CTAL 160": lambda: _ctal(tensor),
    }
    seconds = interleaved(one_thread, rounds=SHORT_ROUNDS, clock=time.process_time)
    table(seconds, what="ms per 10 s clip")
    ours = "ours, kaldi fbank 128"
    claim("log-mel 128, one thread, over HF ASTFeatureExtractor", ratio(seconds, ours, "HF ASTFeatureExtractor"), 5)
    claim("log-mel 128, one thread, over lhotse Fbank", ratio(seconds, ours, "lhotse Fbank"), 1.3)
    claim("log-mel 128, one thread, over kaldi-native-fbank", ratio(seconds, ours, "kaldi-native-fbank"), 4)
    claim("CTAL 160-dim, one thread, over librosa", ratio(seconds, "ours, CTAL 160", "librosa, CTAL 160"), 1.0)
    with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:

        def two_threads(function) -> None:
            list(pool.map(function, [tensor] * CLIPS))

        two_workers = {
            "ours, kaldi fbank 128, 8 clips, 2 workers": lambda: two_threads(features.kaldi_fbank),
            "ours, CTAL 160, 8 clips, 2 workers": lambda: two_threads(_ctal),
        }
        seconds = interleaved({**peers, **two_workers})
    seconds |= {name: [s / CLIPS for s in seconds[name]] for name in two_workers}
    table(seconds, what="ms per 10 s clip")
    fbank, ctal = two_workers
    claim("log-mel 128, two workers, over HF ASTFeatureExtractor", ratio(seconds, fbank, "HF ASTFeatureExtractor"), 5)
    claim("CTAL 160-dim, two workers, over librosa", ratio(seconds, ctal, "librosa, CTAL 160"), 1.7)


def _decoding(wave: np.ndarray) -> None:
    import soundfile

    place = io.BytesIO()
    soundfile.write(place, wave, RATE, format="WAV", subtype="PCM_16")
    encoded = place.getvalue()
    many = range(50)
    seconds = interleaved(
        {
            "soundfile, PCM WAV": lambda: [soundfile.read(io.BytesIO(encoded), dtype="float32") for _ in many],
            "ours, PCM WAV": lambda: [read_audio(encoded, rate_hz=RATE) for _ in many],
        },
        rounds=SHORT_ROUNDS,
        clock=time.process_time,
    )
    table(seconds, unit=len(many), what="ms per 10 s clip")
    claim("PCM WAV read (checked) over soundfile", ratio(seconds, "ours, PCM WAV", "soundfile, PCM WAV"), 3.5)


def _resampling(wave: np.ndarray) -> None:
    from lhotse.augmentation.resample import Resample
    from scipy.signal import resample_poly

    wave_44k = np.repeat(wave, 3)[: 44_100 * SECONDS].copy()
    lhotse_resample = Resample(44_100, RATE)  # where torchaudio is not installed, lhotse takes scipy's instead
    seconds = interleaved(
        {
            "lhotse Resample, torch": lambda: lhotse_resample(torch.from_numpy(wave_44k[None])),
            "scipy resample_poly": lambda: resample_poly(wave_44k, 160, 441),
            "ours (soxr HQ, checked)": lambda: read_audio((wave_44k, 44_100), rate_hz=RATE),
        },
        rounds=SHORT_ROUNDS,
        clock=time.process_time,
    )
    table(seconds, what="ms per 10 s clip")
    ours = "ours (soxr HQ, checked)"
    claim("resampling 44.1 to 16 kHz over lhotse", ratio(seconds, ours, "lhotse Resample, torch"), 0.8)
    claim("resampling 44.1 to 16 kHz over scipy", ratio(seconds, ours, "scipy resample_poly"), 1.6)
