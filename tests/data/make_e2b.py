#!/usr/bin/env python3
"""Makes models/tiny_e2b-F16.gguf and its mmproj, random numbers in the shape of Gemma 4 E2B, and in goldens/ what transformers
says of them in float32: make_e2b.py KIT

KIT is the folder of the reference kit; its README says what has to be installed (llama.cpp is not needed).
Like E2B: every fifth layer is full, the last layers share keys and values and have feed-forwards of twice the width
(`feed_forward_length` is an array, as llama.cpp's converter writes it), eight heads read one of keys. The towers are smaller than
tiny's, in all that a file may choose.
"""
import copy
import json
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
NAME = "tiny_e2b"
CONFIG = dict(
    seed=19,
    vocab="vocab_kquant.json",
    text=dict(hidden=32, ffn=64, heads=8, kv=1, head_dim=32, head_dim_full=64, pattern="SSSSF" * 2, shared=5, window=24, ple=16, extra_kv_layers=[]),
    vision=dict(hidden=48, ffn=112, layers=2, heads=3, pos=144),
    audio=dict(hidden=48, layers=2, heads=3, out=80),
)
TEXTS = {"short": "Hello world", "medium": "The quick brown fox jumps over it.", "long": "A long time ago there were two people who had no water. " * 2 + "What then?"}
LONG_STEP = 25  # of the rows of "long" whose logits are kept
PICTURES = (("square", 70), ("wide3", 280), ("large", 1120))
SOUNDS = ("s0.3", "s1", "s30")
PROMPTS = {
    "image_audio": ([("i", "square"), ("a", "s0.3")], "What do you see and hear?"),
    "audio": ([("a", "s1")], "Write it down."),
}
GREEDY = 24


def widths(text):
    """Of each layer's feed-forward."""
    layers = len(text["pattern"])
    return [text["ffn"] * (2 if i >= layers - text["shared"] else 1) for i in range(layers)]


def wider(make_config):
    """Of the kit's configurations, those with an array of widths: transformers' switch for them."""

    def make(cfg, *args):
        stated = cfg["text"]["ffn"]
        narrow = copy.deepcopy(cfg)
        narrow["text"]["ffn"] = stated[0]
        assert stated == widths(narrow["text"])
        config = make_config(narrow, *args)
        config.text_config.use_double_wide_mlp = True
        return config

    return make


def write_models(G):
    vocabulary = G.load_vocab_json(CONFIG["vocab"])
    text = CONFIG["text"]
    state = {**G.text_state(CONFIG, len(vocabulary["tokens"])), **G.vision_state(CONFIG), **G.audio_state(CONFIG)}
    random = G.Rng(CONFIG["seed"])
    for i, width in enumerate(widths(text)):
        if width == text["ffn"]:
            continue
        layer = f"model.language_model.layers.{i}.mlp."
        for name, rows, cols, gain in (("gate", width, text["hidden"], 1.2), ("up", width, text["hidden"], 1.0), ("down", text["hidden"], width, 1.0)):
            name = f"{layer}{name}_proj.weight"
            state[name] = random.normal(name, (rows, cols), gain / np.sqrt(cols))
    shape = dict(CONFIG, text=dict(text, ffn=widths(text)))
    paths = [os.path.join(HERE, "models", f"{kind}{NAME}-F16.gguf") for kind in ("", "mmproj-")]
    G.write_text(paths[0], shape, state, vocabulary, "F16")
    G.write_mmproj(paths[1], shape, state, "F16")
    return paths


def text_goldens(M, hf):
    out = {}
    for name, text in TEXTS.items():
        tokens, greedy, margins = M.pick(hf, lambda v: [2] + hf.tk.encode(text + v, add_special_tokens=False).ids, GREEDY, {})
        rows = range(0, len(tokens), LONG_STEP if name == "long" else 1)
        out.update(prompt(name, tokens, sorted({*rows, len(tokens) - 1}), hf.run(tokens), greedy, margins))
    tokens = out["short.tokens"].tolist()
    trunk = hf.m.model.language_model
    stages = {"embed": trunk.embed_tokens, "norm": trunk.norm, **{f"layer{i}": layer for i, layer in enumerate(trunk.layers)}}
    got, _ = hf.capture(stages, lambda: hf.run(tokens))
    out.update({f"short.hidden.{stage}": values[0].astype(np.float32) for stage, values in got.items()})
    with hf.t.no_grad():
        ids = hf.t.tensor([tokens])
        embedded = trunk.embed_tokens(ids)
        inputs = trunk.project_per_layer_inputs(embedded, trunk.get_per_layer_inputs(ids, embedded))
    out["short.per_layer_inputs"] = inputs[0].numpy().astype(np.float32)
    return out


def prompt(name, tokens, rows, logits, greedy, margins):
    return {
        f"{name}.tokens": np.array(tokens, np.int32),
        f"{name}.logit_rows": np.array(rows, np.int32),
        f"{name}.logits": logits[rows].astype(np.float32),
        f"{name}.greedy": np.array(greedy, np.int32),
        f"{name}.margins": np.array(margins, np.float32),
    }


def picture_goldens(M, hf):
    """Goldens, and by name (soft tokens, what the model is given) for prompts."""
    m, out, media = hf.m.model, {}, {}
    k_w_h = (7, 144, 96)
    pixels, positions = hf.raw_pixels(M.synth.image(*k_w_h))
    tower = m.vision_tower
    stages = {"patch_embed": tower.patch_embedder.input_proj, "pos_embed": tower.patch_embedder, "block0": tower.encoder.layers[0],
              "block_last": tower.encoder.layers[-1], "pool": tower.pooler, "projector": m.embed_vision}
    got, _ = hf.capture(stages, lambda: hf.image(pixels, positions))
    out.update({f"stage.{stage}": (values[0] if values.ndim == 3 else values).astype(np.float32) for stage, values in got.items()})
    out["stage.image_k_w_h"] = np.array(k_w_h, np.int32)
    for name, budget in PICTURES:
        pixels, positions = hf.pixels(M.synth.image(*M.IMAGES[name]), budget)
        soft, key = hf.image(pixels, positions), f"{name}.{budget}"
        out[f"{key}.size_hw"] = np.array(M.u8_official(pixels, positions).shape[:2], np.int32)
        if budget == 70:
            media[name] = soft, dict(pixel_values=pixels, image_position_ids=positions)
            out[key] = soft.astype(np.float32)
        else:
            M.sparse(out, key, soft, 64)
    return out, media


def sound_goldens(M, hf):
    """The same for sounds."""
    m, out, media = hf.m.model, {}, {}
    tower = m.audio_tower
    stages = {"subsample": tower.subsample_conv_projection, "block0": tower.layers[0], "block_last": tower.layers[-1],
              "output_proj": tower.output_proj, "projector": m.embed_audio}
    for name in SOUNDS:
        features, mask = hf.features(M.synth.sound(*M.SOUNDS[name]))
        if name == "s0.3":
            out["stage.mel"], out["stage.mel_mask"] = features[0].numpy(), mask[0].numpy()
            got, soft = hf.capture(stages, lambda: hf.audio(features, mask))
            out.update({f"stage.{stage}": values[0].astype(np.float32) for stage, values in got.items()})
        else:
            soft = hf.audio(features, mask)
        media[name] = soft, dict(input_features=features, input_features_mask=mask)
        if name == "s30":
            M.sparse(out, name, soft, 64)
        else:
            out[name] = soft.astype(np.float32)
    return out, media


def prompt_goldens(M, hf, encoded):
    """Goldens, and what the index says of each prompt."""
    out, index = {}, {}
    for name, (media, text) in PROMPTS.items():
        given = {}
        for _, medium in media:
            given.update(encoded[medium][1])
        parts = [({"i": "image", "a": "audio"}[kind], len(encoded[medium][0])) for kind, medium in media]
        tokens, greedy, margins = M.pick(hf, lambda v: M.turn(hf, parts + [text + v]), GREEDY, given)
        rows = sorted({*range(0, len(tokens), 16), len(tokens) - 1})
        out.update(prompt(name, tokens, rows, hf.run(tokens, **given), greedy, margins))
        index[f"prompt.{name}"] = dict(n=len(tokens), media=["/".join(m) for m in media], min_margin=round(min(margins), 4))
    return out, index


def main(kit):
    sys.path.insert(0, kit)
    import gemma4_gguf as G
    import make_goldens as M

    G.hf_config = wider(G.hf_config)
    hf = M.HF(*write_models(G))
    assert [layer.mlp.intermediate_size for layer in hf.m.model.language_model.layers] == widths(CONFIG["text"])
    goldens = os.path.join(HERE, "goldens")
    pictures, encoded = picture_goldens(M, hf)
    sounds, sound_media = sound_goldens(M, hf)
    prompts, index = prompt_goldens(M, hf, {**encoded, **sound_media})
    for kind, arrays in (("text", text_goldens(M, hf)), ("image", pictures), ("audio", sounds), ("prompts", prompts)):
        M.save(os.path.join(goldens, f"{NAME}-{kind}.npz"), arrays)
    M.upd_index(goldens, NAME, index)
    print(json.dumps(index))


if __name__ == "__main__":
    main(*sys.argv[1:])
