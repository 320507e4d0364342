#!/usr/bin/env python3
"""Writes goldens.json and goldens.npz: what transformers makes of the videos beside this script with the model
tests/data/models/tiny-F16.gguf and its encoder, in float32, by Gemma4Processor and torchcodec.

goldens.json
- placeholders: the ids of <|image|>, <|audio|> and <|video|>;
- clips: per clip the frames' numbers and times in seconds, the video's size, the size that the model saw;
- prompts: per prompt the parts of a user's turn, each a text, a picture's file, or a video's and whether its sound is heard.

goldens.npz
- CLIP.official: the rows of the frames; CLIP.pillow: the same of frames resized by Gemma4ImageProcessorPil, as pictures are
  (torchvision's bicubic differs in 0.3 to 1 % of the pixels by 1); CLIP.sound: the rows of the sound; CLIP.soxr: the same of a
  sound that is brought to 16 kHz by soxr, as sounds alone are (of videos it is FFmpeg's swresample).
  Each as .rows, .values (chosen rows), .rowsum, .rownorm (of all rows), .shape;
- PROMPT.tokens with the placeholders' ids, .logits of the last one, .greedy, .margins (best - second).

The official processor refuses videos of fewer frames than it wants; of these it is asked for as many as there are.

Needs the reference kit beside the checkout, what its README installs, soxr and torchcodec. Takes a quarter of an hour.

  python make_goldens.py
"""

import json
import os
import sys

import numpy as np
import soxr
import torch
from PIL import Image
from torchcodec.decoders import AudioDecoder, VideoDecoder
from transformers import PreTrainedTokenizerFast
from transformers.audio_utils import load_audio
from transformers.models.gemma4.processing_gemma4 import Gemma4Processor
from transformers.models.gemma4.video_processing_gemma4 import Gemma4VideoProcessor

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../../../shared/reference"))
import make_goldens as kit  # noqa: E402

MODELS = os.path.join(HERE, "../models")
GREEDY = 16


def text(words):
    return {"text": words}


def video(file, sound=False):
    return {"video": file, "sound": sound}


# clip -> (file, frames that are asked for, soft tokens of each); no number of frames: all that there are
CLIPS = {
    "short": ("short.mp4", 32, 70),
    "short-8": ("short.mp4", 8, 140),
    "rotated": ("rotated.mov", 32, 70),
    "few": ("few.webm", None, 70),
    "minutes": ("minutes.mp4", 32, 70),
    "rounded": ("rounded.webm", 32, 70),
    "offset": ("offset.webm", None, 70),
}
SOUNDS = ("short", "few")  # clips whose sounds count
PROMPTS = {
    "video": [video("short.mp4"), text("What happens?")],
    "video_sound": [video("short.mp4", sound=True), text("What do you see and hear?")],
    "text_video_sound": [text("What is this?"), video("few.webm", sound=True)],
    "video_picture": [video("few.webm"), {"picture": "../demo/samples/small.png"}, text("Which of them is a picture?")],
    "rotated": [video("rotated.mov"), text("Which way is up?")],
    "minutes": [text("Watch this:"), video("minutes.mp4"), text("What happened after a minute?")],
    "rounded": [video("rounded.webm"), text("What happens?")],
    "offset": [video("offset.webm"), text("What happens?")],
}

# The model's inputs.
VIDEO = ("pixel_values_videos", "video_position_ids", "num_frames_per_video")
IMAGE = ("pixel_values", "image_position_ids")
SOUND = ("input_features", "input_features_mask")


def path_of(name):
    return os.path.join(HERE, name)


def frames_of(file, wanted):
    """How many frames the processor is asked for."""
    return wanted or VideoDecoder(path_of(file), seek_mode="exact").metadata.num_frames


class Official:
    def __init__(self):
        self.hf = kit.HF(os.path.join(MODELS, "tiny-F16.gguf"), os.path.join(MODELS, "mmproj-tiny-F16.gguf"))
        voc = self.hf.voc
        # A path of tokens that no decoder bans and that ends no answer.
        self.hf.placeholders = {i for i, kind in enumerate(voc["types"]) if kind in (3, 4)}
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=self.hf.tk, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>",
            extra_special_tokens=dict(image_token="<|image|>", boi_token="<|image>", eoi_token="<image|>",
                                      audio_token="<|audio|>", boa_token="<|audio>", eoa_token="<audio|>"))  # fmt: skip
        self.processor = Gemma4Processor(
            self.hf.fe, self.hf.ip, tokenizer, Gemma4VideoProcessor(), chat_template=voc["chat_template"]
        )

    def frames(self, file, count, budget):
        return self.processor.video_processor(
            path_of(file), num_frames=count, max_soft_tokens=budget, return_metadata=True, return_tensors="pt"
        )

    def video_rows(self, pixels, positions):
        """Rows [n, width] of all frames."""
        with torch.no_grad():
            count = torch.tensor([len(pixels)])
            return self.hf.m.model.get_video_features(pixels, positions, count).pooler_output[0].numpy()

    def as_pictures(self, file, indices, budget):
        """Patches and positions of the very frames, resized by Pillow."""
        frames = VideoDecoder(path_of(file), seek_mode="exact").get_frames_at(indices=list(indices)).data
        pictures = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in frames]
        out = self.hf.ip(pictures, max_soft_tokens=budget, return_tensors="pt")
        return out["pixel_values"].float(), out["image_position_ids"]

    def media(self, inputs):
        """What the model takes besides tokens, with pictures and videos encoded once."""
        model, encoded = self.hf.m.model, {}
        with torch.no_grad():
            encoded["video"] = model.get_video_features(*(inputs[key] for key in VIDEO))
            if "pixel_values" in inputs:
                encoded["image"] = model.get_image_features(*(inputs[key] for key in IMAGE))
        sound = {key: inputs[key] for key in SOUND if key in inputs}
        return {**sound, "mm_encoder_outputs": encoded}

    def inputs(self, parts):
        """The processor's inputs of one user turn."""
        part = next(part for part in parts if "video" in part)
        count = frames_of(part["video"], next(wanted for file, wanted, _ in CLIPS.values() if file == part["video"]))
        return self.processor.apply_chat_template(
            [{"role": "user", "content": [item for p in parts for item in content(p)]}], tokenize=True, return_dict=True,
            add_generation_prompt=True, load_audio_from_video=part["sound"], return_tensors="pt",
            processor_kwargs={"num_frames": count, "return_metadata": True})  # fmt: skip


def content(part):
    """A part as the chat template wants it."""
    if "text" in part:
        return [{"type": "text", "text": part["text"]}]
    if "picture" in part:
        return [{"type": "image", "path": path_of(part["picture"])}]
    return [{"type": "video", "path": path_of(part["video"])}, *([{"type": "audio"}] if part["sound"] else [])]


def by_soxr(path):
    """16 kHz mono as transformers' backend for files of sound alone makes it."""
    sound = AudioDecoder(path).get_all_samples()
    return soxr.resample(sound.data.numpy().mean(axis=0), sound.sample_rate, 16000, quality="HQ")


def worst(got, want):
    """The largest error of a row, relative to its norm."""
    return float((np.linalg.norm(got - want, axis=-1) / np.linalg.norm(want, axis=-1)).max())


def clip(official, name, arrays):
    file, wanted, budget = CLIPS[name]
    out = official.frames(file, frames_of(file, wanted), budget)
    (metadata,) = out["video_metadata"]
    pixels, positions = out["pixel_values_videos"], out["video_position_ids"]
    width, height = (16 * (positions[0].amax(0) + 1)).tolist()
    rows = official.video_rows(pixels, positions)
    kit.sparse(arrays, f"{name}.official", rows, 64)
    pillow = official.video_rows(*official.as_pictures(file, metadata.frames_indices, budget))
    kit.sparse(arrays, f"{name}.pillow", pillow, 64)
    if name in SOUNDS:
        for way, samples in (("sound", load_audio(path_of(file))), ("soxr", by_soxr(path_of(file)))):
            kit.sparse(arrays, f"{name}.{way}", official.hf.audio(*official.hf.features(samples)), 10)
    print(name, rows.shape, "Pillow's rows differ by", worst(pillow, rows), flush=True)
    return {
        "file": file, "max_frames": wanted or 0, "max_soft_tokens": budget, "rows": len(rows),
        "indices": [int(i) for i in metadata.frames_indices], "times": [float(t) for t in metadata.timestamps],
        "duration": float(metadata.duration), "source_wh": [metadata.width, metadata.height], "resized_wh": [width, height],
    }  # fmt: skip


def prompt(official, name, arrays):
    """Of some variants of the prompt the one whose greedy path is the surest."""
    hf, parts = official.hf, PROMPTS[name]
    words = [part for part in parts if "text" in part][-1]
    first, question, texts = official.inputs(parts), words["text"], {}

    def make(suffix):
        words["text"] = question + suffix
        tokens = official.inputs(parts)["input_ids"][0].tolist()
        texts[tuple(tokens)] = words["text"]
        return tokens

    media = official.media(first)
    tokens, greedy, margins = kit.pick(hf, make, GREEDY, media)
    words["text"] = texts[tuple(tokens)]
    arrays[f"{name}.tokens"] = np.array(tokens, np.int32)
    arrays[f"{name}.logits"] = hf.run(tokens, **media)[-1]
    arrays[f"{name}.greedy"], arrays[f"{name}.margins"] = np.array(greedy, np.int32), np.array(margins, np.float32)
    print(name, len(tokens), "tokens, smallest margin", min(margins), flush=True)
    return parts


def main():
    torch.set_num_threads(1)
    official, arrays = Official(), {}
    facts = {"clips": {name: clip(official, name, arrays) for name in CLIPS}}
    facts["placeholders"] = [official.hf.ids[token] for token in ("<|image|>", "<|audio|>", "<|video|>")]
    facts["prompts"] = {name: prompt(official, name, arrays) for name in PROMPTS}
    kit.save(os.path.join(HERE, "goldens.npz"), arrays)
    with open(os.path.join(HERE, "goldens.json"), "w", encoding="utf-8") as file:
        json.dump(facts, file)
        file.write("\n")


if __name__ == "__main__":
    main()
