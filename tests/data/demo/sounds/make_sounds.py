#!/usr/bin/env python3
"""Makes the sounds of this folder and, with transformers, the answers about them.

  python make_sounds.py files                        speaks and writes the sounds
  python make_sounds.py expected REFERENCE DEMO      writes expected.json and hundred.json (transformers, float32, greedy)

REFERENCE is the folder of gemma4_gguf.py (it reads a GGUF pair into transformers), DEMO that of the
demo model's demo_data.py and make_samples.py. `files` needs espeak-ng, numpy, scipy and soundfile
(libsndfile writes MP3 with LAME, OGG with libvorbis and libopus); scipy's resample_poly makes the
rates. What is spoken is a case's "truth"; a case is kept if transformers hears that too.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parent / "samples"
DIGITS = "zero one two three four five six seven eight nine".split()

# Name -> digits, espeak-ng voice (accent and variant that the model never heard together; see
# voices()), words a minute, pitch, rate in Hz, channels, soundfile's format and subtype.
SPOKEN = {
    "spoken-27.wav": ("27", 182, 145, 45, 16000, 1, "WAV", "PCM_U8"),
    "spoken-81.wav": ("81", 181, 150, 50, 8000, 1, "WAV", "PCM_16"),
    "spoken-350.wav": ("350", 183, 140, 55, 22050, 1, "WAV", "FLOAT"),
    "spoken-64.flac": ("64", 186, 130, 45, 48000, 2, "FLAC", "PCM_24"),
    "spoken-19.ogg": ("19", 189, 160, 60, 32000, 1, "OGG", "VORBIS"),
    "spoken-742.opus": ("742", 192, 145, 50, 48000, 2, "OGG", "OPUS"),
    "spoken-5038.mp3": ("5038", 195, 135, 35, 44100, 2, "MP3", "MPEG_LAYER_III"),
    "spoken-4.mp3": ("4", 198, 150, 50, 22050, 1, "MP3", "MPEG_LAYER_III"),
    "spoken-9.wav": ("9", 201, 155, 45, 96000, 1, "WAV", "PCM_16"),
    "spoken-8213.opus": ("8213", 204, 140, 40, 24000, 1, "OGG", "OPUS"),
    "spoken-0677.wav": ("0677", 207, 150, 50, 11025, 1, "WAV", "PCM_16"),
}
# The samples once more, as people send them: name -> sample, rate, channels, format, subtype.
CONVERTED = {
    "digits-9025-stereo.mp3": ("digits-9025.wav", 44100, 2, "MP3", "MPEG_LAYER_III"),
    "digits-86-stereo.opus": ("digits-86.wav", 48000, 2, "OGG", "OPUS"),
}


def voices():
    """As demo_data.py shuffles them: the first 150 were trained with, the next 30 held out."""
    import random

    accents = "en-us en-gb en-gb-scotland en-gb-x-rp en-gb-x-gbclan en-gb-x-gbcwmd en-029 en-us-nyc"
    variants = ["", *"m1 m2 m3 m4 m5 m6 m7 f1 f2 f3 f4 f5 Alex Andrea Annie Denis Mike".split()]
    variants += ["Michael", "Lee", "linda", "steph", "john", "paul", "Mr serious", "adam"]
    variants += ["belinda", "edward"]
    all_voices = [(a, v) for a in accents.split() for v in variants]
    random.Random(1).shuffle(all_voices)
    return all_voices


def speak(digits, voice, speed, pitch):
    """Speech at 16 kHz, with quiet around it."""
    accent, variant = voices()[voice]
    name = accent + ("+" + variant if variant else "")
    words = " ".join(DIGITS[int(d)] for d in digits)
    command = ["espeak-ng", "-v", name, "-s", str(speed), "-p", str(pitch), "--stdout", words]
    raw = subprocess.run(command, capture_output=True, check=True).stdout[44:]
    x = np.frombuffer(raw[: len(raw) // 2 * 2], np.int16).astype(np.float64) / 32768
    x = scipy.signal.resample_poly(x, 320, 441)
    loud = np.flatnonzero(np.abs(x) > 0.01)
    x = x[max(loud[0] - 160, 0) : loud[-1] + 480]
    x = np.concatenate([np.zeros(3200), x / np.abs(x).max() * 0.6, np.zeros(3200)])
    return x + np.random.default_rng(len(x)).normal(0, 0.002, len(x))


def write(name, x, rate, channels, kind, subtype):
    x = x if rate == 16000 else scipy.signal.resample_poly(x, rate // 5, 3200)
    if channels == 2:
        x = np.stack([0.9 * x, x], 1)
    soundfile.write(HERE / name, x.astype(np.float32), rate, format=kind, subtype=subtype)


def make_files():
    for name, (digits, voice, speed, pitch, *how) in SPOKEN.items():
        write(name, speak(digits, voice, speed, pitch), *how)
    for name, (sample, *how) in CONVERTED.items():
        x, rate = soundfile.read(SAMPLES / sample)
        assert rate == 16000
        write(name, x, *how)
    # Longer than one run of soft tokens: two spoken parts with quiet between them, 34 s.
    noise = np.random.default_rng(5)
    first, second = (soundfile.read(SAMPLES / f"digits-{d}.wav")[0] for d in ("86", "7"))
    x = noise.normal(0, 0.002, 34 * 16000)
    x[: len(first)] += first
    x[31 * 16000 : 31 * 16000 + len(second)] += second
    soundfile.write(HERE / "long-86-7.opus", x.astype(np.float32), 16000, format="OGG", subtype="OPUS")


def cases():
    """(name, truth or None, turns of parts)."""

    def audio(file):
        return {"type": "audio", "file": file}

    def image(file):
        return {"type": "image", "file": file}

    def text(words):
        return {"type": "text", "text": words}

    for name in [*SPOKEN, *CONVERTED]:
        digits = name.split("-")[1].split(".")[0]
        truth = " ".join(DIGITS[int(d)] for d in digits)
        yield name, truth, [[audio(name), text("Transcribe the audio.")]]
    both = text("Describe the picture and transcribe the audio.")
    scene = image("../samples/wide.jpg")
    yield "picture-then-sound", None, [[scene, audio("spoken-27.wav"), both]]
    yield "sound-then-picture", None, [[audio("spoken-350.wav"), scene, both]]
    ask = text("What digits do you hear?")
    yield "sound-later", None, [[text("Hello!")], [audio("spoken-350.wav"), ask]]
    yield (
        "two-sounds",
        None,
        [[audio("spoken-27.wav"), ask], [audio("digits-86-stereo.opus"), ask]],
    )
    yield "question-first", None, [[text("Transcribe the audio."), audio("spoken-64.flac")]]
    yield "long", None, [[audio("long-86-7.opus"), text("Transcribe the audio.")]]


def hundred():
    """One sound after another in one conversation, in no order."""
    files = ["spoken-4.mp3", "spoken-9.wav", "../samples/digits-7.wav", "spoken-27.wav"]
    for i in range(100):
        file = files[(i * i + i // 3) % 4]
        yield [{"type": "audio", "file": file}, {"type": "text", "text": "Transcribe the audio."}]


class Reference:
    def __init__(self, reference, demo):
        sys.path[:0] = [reference, demo]
        import demo_batch
        import demo_data
        import demo_model
        import gemma4_gguf
        import torch

        torch.set_num_threads(1)
        self.torch, self.batch, self.data = torch, demo_batch, demo_data
        vocabulary = demo_model.load_vocab()
        self.tokenizer = demo_model.build_tokenizer(vocabulary)
        _, _, state = gemma4_gguf.load_pair(
            str(HERE.parent / "demo-text.gguf"), str(HERE.parent / "demo-mmproj.gguf")
        )
        self.model = demo_model.build_model(vocabulary)
        state = {k: torch.from_numpy(np.array(v)) for k, v in state.items()}
        missing, unexpected = self.model.load_state_dict(state, strict=False)
        print("not in the files:", missing, "not in the model:", unexpected)
        demo_model.set_clipping(self.model, True)
        self.model.eval()
        self.stop = {vocabulary["tokens"].index(t) for t in ("<eos>", "<turn|>")}

    def answer(self, turns):
        """Greedy text and the smallest gap between the two best logits."""
        from PIL import Image

        pictures, sounds, chat = [], [], []
        for parts, answer in turns:
            rendered = []
            for part in parts:
                if part["type"] == "text":
                    rendered.append(part["text"])
                elif part["type"] == "image":
                    picture = Image.open(HERE / part["file"]).convert("RGB")
                    patches, positions, _ = self.batch.patches_of(picture, 280)
                    rendered.append(("image", len(pictures)))
                    pictures.append({"patches": patches, "pos": positions})
                else:
                    x, rate = soundfile.read(HERE / part["file"], always_2d=True)
                    x = scipy.signal.resample_poly(x.mean(1), 3200, rate // 5)
                    for start in range(0, len(x), 480000):  # pieces of 30 s
                        rendered.append(("audio", len(sounds)))
                        piece = x[start : start + 480000].astype(np.float32)
                        sounds.append({"mel": self.batch.mel_of(piece)})
            chat.append((rendered, answer))
        rows = [self.batch.n_audio_tokens(len(s["mel"])) for s in sounds]
        text = "".join(
            t
            for t, _ in self.data.chat_segments(
                chat, [len(p["patches"]) // 9 for p in pictures], rows, None, True
            )
        )
        ids = self.torch.tensor([self.tokenizer.encode(text, add_special_tokens=False).ids])
        media = {}
        if pictures:
            both = self.batch.pad_pictures(pictures)
            media["pixel_values"], media["image_position_ids"] = both
        if sounds:
            both = self.batch.pad_sounds(sounds)
            media["input_features"], media["input_features_mask"] = both
        made = self.model.generate(
            input_ids=ids,
            attention_mask=self.torch.ones_like(ids),
            max_new_tokens=64,
            do_sample=False,
            eos_token_id=sorted(self.stop),
            pad_token_id=0,
            return_dict_in_generate=True,
            output_logits=True,
            **media,
        )
        best = [logits[0].topk(2) for logits in made.logits]
        out = [b.indices[0].item() for b in best]
        margin = min((b.values[0] - b.values[1]).item() for b in best)
        kept = [i for i in out if i not in self.stop]
        return self.tokenizer.decode(kept, skip_special_tokens=False), margin, rows


def make_expected(reference, demo):
    model = Reference(reference, demo)

    def answered(asked):
        turns, history = [], []
        for parts in asked:
            text, margin, rows = model.answer([*history, (parts, None)])
            history.append((parts, text))
            print(text, round(margin, 3), sum(rows), flush=True)
            turns.append(
                {"parts": parts, "expected_text": text, "smallest_margin": round(margin, 3)}
            )
        return turns

    def write_json(name, value, **how):
        (HERE / name).write_text(json.dumps(value, **how) + "\n")

    kept = []
    for name, truth, asked in cases():
        print(name, truth)
        turns = answered(asked)
        if truth is None or turns[-1]["expected_text"] == truth:
            kept.append({"name": name, **({"truth": truth} if truth else {}), "turns": turns})
    write_json("expected.json", kept, indent=1)
    write_json("hundred.json", [{"name": "hundred-sounds", "turns": answered(hundred())}])


if __name__ == "__main__":
    if sys.argv[1:] == ["files"]:
        make_files()
    elif sys.argv[1:2] == ["expected"] and len(sys.argv) == 4:
        make_expected(*sys.argv[2:])
    else:
        sys.exit(__doc__)
