"""Runs a folder of goldens through our code and compares stage by stage: the body of tests/parity.

Reads index.json and the .npz/.json files beside it, hands jobs to the C++ program `softsplice-dump` (which runs models and
writes raw arrays), compares, prints one row per check and exits with 1 when a check fails, a model is missing or a golden
in the folder was not understood. The expected values are transformers', Pillow's, Hugging Face tokenizers' and gguf-py's;
none are made by this code.
"""

import argparse
import dataclasses
import hashlib
import json
import lzma
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))
from synth import IMAGES, SOUNDS, synth_picture  # noqa: E402

MODEL_FOLDERS = [ROOT / "tests/data/models", ROOT / "../shared/reference/models"]
VOCABULARIES = [ROOT / "tests/data/text/gemma-4-vocab.gguf.xz", ROOT / "../shared/models/vocab/gemma-4-vocab.gguf.xz"]

# Limits on the relative error (see relative_error), by what computes.
EXACT = 1e-3  # float32 arithmetic on the file's weights
EXACT_MEDIA_PROMPT = 2e-3  # logits behind a picture or a sound: two towers' errors
FAST = 5e-2  # int8 activations on quantised weights, or BF16 ones on a GPU; float16 KV cache
FAST_TOWER = 1e-2  # the default path of the audio tower
MEL = 1e-4  # absolute, natural logarithms
LLAMA = 2e-2  # llama.cpp keeps GELU in a half-precision table, keys and values in half precision

# Sounds of the mel golden besides: the synthetic formula's, or 8000 samples of one level.
MEL_SOUNDS = {"n1": (31, 1), "n161": (36, 161), "n319": (32, 319), "n320": (33, 320), "n321": (34, 321), "n482": (35, 482), **SOUNDS}
MEL_LEVELS = {"silence": 0.0, "dc": 0.25}
CHUNKS = (1, 7, 32, 512)
# What --small leaves out.
SMALL_BUDGET = 70
SMALL_SAMPLES = 16000
SMALL_CHUNKS = (7,)


def relative_error(got, want):
    """The largest over rows of |got - want| / |want| (Euclidean norms); infinite for another shape or NaN."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.shape != want.shape:
        return float("inf")
    if want.ndim == 1:
        got, want = got[None], want[None]
    error = np.linalg.norm(got - want, axis=-1)
    norm = np.linalg.norm(want, axis=-1)
    worst = float(np.max(error / np.maximum(norm, 1e-30))) if error.size else 0.0
    return worst if np.isfinite(worst) else float("inf")


@dataclasses.dataclass
class Row:
    case: str
    stage: str
    error: float
    limit: float
    note: str = ""

    @property
    def passed(self):
        return self.error <= self.limit


class Table:
    def __init__(self):
        self.rows, self.skipped = [], []

    def add(self, case, stage, error, limit, note=""):
        self.rows.append(Row(case, stage, error, limit, note))

    def fail(self, case, note):
        self.add(case, "-", float("inf"), 0.0, note)

    def skip(self, case, why):
        self.skipped.append((case, why))

    def print(self, verbose):
        width = max((len(r.case) for r in self.rows), default=4)
        print(f"{'case':{width}}  {'stage':34} {'error':>10} {'limit':>8}  result")
        for r in self.rows:
            if verbose or not r.passed:
                result = "ok" if r.passed else "FAIL"
                print(f"{r.case:{width}}  {r.stage:34} {r.error:10.3g} {r.limit:8.2g}  {result}{'  ' + r.note if r.note else ''}")
        for case, why in self.skipped:
            print(f"{case:{width}}  not run: {why}")
        failed = sum(not r.passed for r in self.rows)
        print(f"{len(self.rows) - failed} passed, {failed} failed, {len(self.skipped)} skipped")
        return failed


class Dump:
    """Collects jobs for softsplice-dump, runs them in one process, then hands each job's arrays to its check."""

    def __init__(self, program, folder, backend):
        self.program, self.folder, self.backend = program, folder, backend
        self.jobs, self.checks = [], []
        # The CPU's arithmetic on float weights is exact as it is; a GPU's is on request.
        self.exact = dict(exact_weights=True) if backend == "cuda" else {}

    def add(self, table, case, job, check):
        job = dict(job, out=str(self.folder / str(len(self.jobs))))
        job.setdefault("backend", self.backend)
        self.jobs.append(job)
        self.checks.append((table, case, check))

    def run(self):
        (self.folder / "jobs.json").write_text(json.dumps(self.jobs))
        done = subprocess.run([self.program, str(self.folder / "jobs.json")], stdout=subprocess.PIPE, text=True)
        results = [json.loads(line) for line in done.stdout.splitlines()]
        for i, (table, case, check) in enumerate(self.checks):
            if i >= len(results):
                table.fail(case, f"softsplice-dump ended early (exit {done.returncode})")
            elif results[i].get("error"):
                table.fail(case, results[i]["error"])
            else:
                check(Arrays(results[i], self.jobs[i]["out"]))


class Arrays:
    """What one job returned: `result` (its JSON) and the raw arrays it names."""

    def __init__(self, result, prefix):
        self.result, self.prefix = result, prefix

    def __getitem__(self, name):
        entry = self.result["arrays"][name]
        data = np.fromfile(f"{self.prefix}.{name}.bin", dtype=entry["dtype"])
        return data.reshape(entry["shape"])

    def __contains__(self, name):
        return name in self.result["arrays"]


class Parity:
    def __init__(self, goldens, models, dump, table, small):
        self.goldens, self.models, self.dump, self.table, self.small = goldens, models, dump, table, small
        self.chunks = SMALL_CHUNKS if small else CHUNKS
        self.index = json.loads((goldens / "index.json").read_text())
        self.understood = {"index.json"}

    def load(self, name):
        self.understood.add(name)
        return dict(np.load(self.goldens / name))

    def model(self, *names):
        for name in names:
            for folder in self.models:
                if (folder / name).is_file():
                    return str(folder / name)
        return None

    def run(self):
        for path in sorted(self.goldens.iterdir()):
            for suffix, handler in HANDLERS:
                if path.name.endswith(suffix):
                    handler(self, path.name, path.name.removesuffix(suffix).rstrip("-"))
                    break
        self.dump.run()
        for path in sorted(self.goldens.iterdir()):
            if path.name not in self.understood:
                self.table.fail(path.name, "this golden was not understood")

    # ---- text
    def text(self, file, name):
        data = self.load(file)
        model = self.model(f"{name}-F16.gguf", f"{name}-F32.gguf")
        if model is None:
            return self.table.fail(file, f"no {name}-F16.gguf in the models folders")
        for prompt in prompts_of(data):
            case = f"{name}/{prompt}"
            job = dict(text_job(data, prompt, model), **self.dump.exact)
            if f"{prompt}.hidden.embed" in data:
                stages = dict(job, stages=True, logit_rows=list(range(len(data[f"{prompt}.tokens"]))), greedy=0)
                self.dump.add(self.table, case, stages, lambda got, c=case, p=prompt: self.check_stages(c, p, data, got))
            for chunk in self.chunks:
                self.dump.add(self.table, case, dict(job, chunk=chunk),
                              lambda got, c=case, p=prompt, n=chunk: self.check_prompt(c, p, data, got, EXACT, f"chunk {n}"))
            fast = dict(text_job(data, prompt, model), kv_f32=False)
            self.dump.add(self.table, case, fast,
                          lambda got, c=case, p=prompt: self.check_prompt(c, p, data, got, FAST, "f16 kv", greedy=False))

    def check_stages(self, case, prompt, data, got):
        seen = 0
        for key, want in data.items():
            if key.startswith(f"{prompt}.hidden."):
                stage = key.split(".", 2)[2]
                self.table.add(case, stage, relative_error(got[stage], want), EXACT)
                seen += 1
        if f"{prompt}.per_layer_inputs" in data:
            want = data[f"{prompt}.per_layer_inputs"]
            ours = got["per_layer_inputs"].reshape(want.shape)
            self.table.add(case, "per_layer_inputs", relative_error(ours, want), EXACT)
        if seen == 0:
            self.table.fail(case, "no stage in the golden")

    def check_prompt(self, case, prompt, data, got, limit, how, greedy=True):
        self.table.add(case, f"logits, {how}", relative_error(got["logits"], data[f"{prompt}.logits"]), limit)
        if greedy:
            self.table.add(case, f"greedy, {how}", differing(got["greedy"], data[f"{prompt}.greedy"]), 0)

    # ---- prompts with media
    def prompts(self, file, name):
        data = self.load(file)
        model = self.model(f"{name}-F16.gguf", f"{name}-F32.gguf")
        mmproj = self.model(f"mmproj-{name}-F16.gguf", f"mmproj-{name}-F32.gguf")
        if model is None or mmproj is None:
            return self.table.fail(file, f"no {name}-F16.gguf and mmproj-{name}-F16.gguf in the models folders")
        for prompt in prompts_of(data):
            case = f"{name}/{prompt}"
            media = [m.split("/") for m in self.index[name][f"prompt.{prompt}"]["media"]]
            unknown = [m for kind, m in media if m not in {"i": IMAGES, "a": SOUNDS}.get(kind, {})]
            if unknown:
                self.table.fail(case, f"unknown media {', '.join(unknown)}")
                continue
            job = dict(text_job(data, prompt, model), mmproj=mmproj, media=[
                dict(synth=IMAGES[m], budget=70) if kind == "i" else dict(sound=SOUNDS[m]) for kind, m in media])
            for chunk in () if self.small else self.chunks:
                self.dump.add(self.table, case, dict(job, chunk=chunk, **self.dump.exact), lambda got, c=case, p=prompt, n=chunk: self.check_prompt(
                    c, p, data, got, EXACT_MEDIA_PROMPT, f"chunk {n}"))
            self.dump.add(self.table, case, dict(job, kv_f32=False), lambda got, c=case, p=prompt: self.check_prompt(
                c, p, data, got, FAST, "default path", greedy=False))
            last = f"llama.{prompt}.logits_last"
            if last in data:
                # llama.cpp's activation in the image tower, its mel floor, its float16 cache.
                llama = dict(job, greedy=0, logit_rows=job["logit_rows"][-1:], quick_gelu=True, llama_mel=True, kv_f32=False)
                self.dump.add(self.table, case, llama, lambda got, c=case, k=last: self.table.add(
                    c, "last logits, llama.cpp's way", relative_error(got["logits"][0], data[k]), LLAMA))

    # ---- pictures
    def image(self, file, name):
        data = self.load(file)
        mmproj = self.model(f"mmproj-{name}-F16.gguf", f"mmproj-{name}-F32.gguf")
        if mmproj is None:
            return self.table.fail(file, f"no mmproj-{name}-F16.gguf in the models folders")
        job = dict(kind="image", mmproj=mmproj)
        case = f"{name}/image stages"
        synth = [int(x) for x in data["stage.image_k_w_h"]]
        stages = [k.removeprefix("stage.") for k in data if k.startswith("stage.") and k != "stage.image_k_w_h"]
        exact = dict(job, **self.dump.exact)
        self.dump.add(self.table, case, dict(exact, synth=synth, budget=0, stages=True), lambda got: [
            self.table.add(case, s, relative_error(got[s], data["stage." + s]), EXACT) for s in stages])
        if "llama.stage.projector" in data:
            self.dump.add(self.table, case, dict(job, synth=synth, budget=0, quick_gelu=True), lambda got: self.table.add(
                case, "projector, llama.cpp's gelu", relative_error(got["soft"], data["llama.stage.projector"]), LLAMA))
        for key in data:
            image, _, rest = key.partition(".")
            if image not in IMAGES or not rest.endswith(".size_hw"):
                continue
            budget = int(rest.split(".")[0])
            if self.small and budget > SMALL_BUDGET:
                continue
            for what, prefix, limit, run in (("soft tokens, default path", "", FAST, job), ("soft tokens", "", EXACT, exact),
                                             ("soft tokens, llama.cpp's gelu", "llama.", LLAMA, dict(exact, quick_gelu=True))):
                if not_made(data, f"{prefix}{image}.{budget}") or (self.small and run is not job):
                    continue
                self.dump.add(self.table, f"{name}/{image}.{budget}", dict(run, synth=IMAGES[image], budget=budget),
                              lambda got, k=f"{image}.{budget}", w=what, p=prefix, n=limit: self.check_image(name, k, w, p, n, data, got))

    def check_image(self, name, key, what, prefix, limit, data, got):
        size = [got.result["resized_height"], got.result["resized_width"]]
        self.table.add(f"{name}/{key}", "size", differing(size, data[key + ".size_hw"]), 0)
        self.table.add(f"{name}/{key}", what, soft_error(got["soft"], data, prefix + key), limit)

    # ---- sounds
    def audio(self, file, name):
        data = self.load(file)
        mmproj = self.model(f"mmproj-{name}-F16.gguf", f"mmproj-{name}-F32.gguf")
        if mmproj is None:
            return self.table.fail(file, f"no mmproj-{name}-F16.gguf in the models folders")
        job = dict(kind="audio", mmproj=mmproj)
        exact = dict(job, exact_weights=True)
        self.dump.add(self.table, f"{name}/audio stages", dict(exact, synth=SOUNDS["s0.3"], stages=True),
                      lambda got: self.check_audio_stages(f"{name}/audio stages", data, got))
        sounds = sorted({k.removesuffix(".shape") for k in data if not k.startswith(("stage.", "llama.")) and (
            k.endswith(".shape") or not k.endswith((".rows", ".values", ".rowsum", ".rownorm")))})
        for sound in sounds:
            case = f"{name}/{sound}"
            if sound not in SOUNDS:
                self.table.fail(case, "unknown sound")
                continue
            if self.small and SOUNDS[sound][1] > SMALL_SAMPLES:
                continue
            for how, key, limit, run in (("exact weights", sound, EXACT, exact), ("default path", sound, FAST_TOWER, job),
                                         ("llama.cpp's mel", "llama." + sound, LLAMA, dict(exact, llama_mel=True))):
                if not_made(data, key):
                    continue
                self.dump.add(self.table, case, dict(run, synth=SOUNDS[sound]), lambda got, c=case, k=key, n=limit, h=how: self.table.add(
                    c, f"soft tokens, {h}", soft_error(got["soft"], data, k), n))

    def check_audio_stages(self, case, data, got):
        """The golden's stages have the padded frames too, which we do not make."""
        for key in data:
            if key.startswith("stage.") and key != "stage.mel_mask":
                stage = key.removeprefix("stage.")
                want = data[key][: len(got[stage])]
                self.table.add(case, stage, relative_error(got[stage], want), EXACT)
        self.table.add(case, "valid frames", differing(len(got["mel"]), data["stage.mel_mask"].sum()), 0)

    # ---- quantised types
    def quants(self, file, name):
        data = self.load(file)
        for kind in sorted({k.split(".")[0] for k in data if k.endswith(".tokens")}):
            case = f"{name}/{kind}"
            # The F16 file holds the very numbers of the F32 and BF16 ones.
            model = self.model(f"{name}-{kind}.gguf", *([f"{name}-F16.gguf"] if kind in ("F32", "BF16") else []))
            if model is None:
                self.table.fail(case, f"no {name}-{kind}.gguf in the models folders")
                continue
            for key in data:
                if key.startswith(f"{kind}.row5."):
                    tensor = key.removeprefix(f"{kind}.row5.")
                    self.dump.add(self.table, case, dict(kind="dequantize", model=model, tensor=tensor, row=5), lambda got, c=case, k=key, t=tensor: self.table.add(
                        c, f"row of {t}", differing(got["row"].view(np.uint32), data[k].view(np.uint32)), 0))
            job = text_job(data, kind, model)
            exact = dict(job, exact_weights=True)
            self.dump.add(self.table, case, exact, lambda got, c=case, k=kind: self.check_prompt(c, k, data, got, EXACT, "exact weights"))
            self.dump.add(self.table, case, dict(job, kv_f32=False), lambda got, c=case, k=kind: self.check_prompt(
                c, k, data, got, FAST, "default path", greedy=False))

    # ---- processors
    def resize(self, file, _):
        data = self.load(file)
        for name, info in self.index["resize"].items():
            case = f"resize/{name}"
            if name == "alpha":
                self.alpha(case, info, data["alpha.rgb"])
                continue
            job = dict(kind="resize", synth=[info["k"], info["w"], info["h"]], budget=info["budget"])
            self.dump.add(self.table, case, job, lambda got, n=name, i=info: self.check_resize(n, i, data, got))

    def alpha(self, case, info, want):
        w, h = info["w"], info["h"]
        y, x = np.mgrid[0:h, 0:w]
        path = str(self.dump.folder / "alpha.png")
        Image.fromarray(np.dstack([synth_picture(info["k"], w, h), (5 * x + 3 * y) & 255]).astype(np.uint8)).save(path)
        self.dump.add(self.table, case, dict(kind="decode", file=path), lambda got: self.table.add(
            case, "over white", differing(got["rgb"], want), 0))

    def check_resize(self, name, info, data, got):
        case, pixels = f"resize/{name}", got["rgb"]
        self.table.add(case, "size", differing(pixels.shape[:2], info["target_hw"]), 0)
        if list(pixels.shape[:2]) != info["target_hw"]:
            return
        off = np.abs(pixels[data[name + ".pixel_rows"]].astype(int) - data[name + ".pixels"].astype(int))
        self.table.add(case, "pixels, largest / 255", off.max(), 1)
        self.table.add(case, "pixels, mean / 255", off.mean(), 0.1)
        same = hashlib.sha256(pixels.tobytes()).hexdigest() == info["sha256"]
        self.table.add(case, "every pixel as Pillow's", 0 if same else 1, 0)
        patches = np.round((got["patches_first_last"] + 1) / 2 * 255)
        self.table.add(case, "first and last patch", differing(patches, data[name + ".patches_first_last_u8"]), 0)

    def counts(self, file, _):
        data = self.load(file)
        want = data["image.w_h_budget_W_H_tokens"]
        job = dict(kind="sizes", w_h_budget=want[:, :3].tolist())
        self.dump.add(self.table, "counts/image", job, lambda got: self.table.add(
            "counts/image", f"{len(want)} sizes", differing(got["sizes"], want[:, 3:]), 0))
        sounds = data["audio.samples_frames_valid_tokens"]
        self.dump.add(self.table, "counts/audio", dict(kind="sound_sizes", samples=sounds[:, 0].tolist()), lambda got: self.table.add(
            "counts/audio", f"{len(sounds)} lengths", differing(got["frames_tokens"], sounds[:, 2:]), 0))

    def mel(self, file, _):
        data = self.load(file)
        for key in data:
            if not key.endswith(".mask"):
                continue
            name = key.removesuffix(".mask")
            sound = name.removeprefix("mel-")
            if sound in MEL_SOUNDS:
                job = dict(kind="mel", synth=MEL_SOUNDS[sound])
            elif sound in MEL_LEVELS:
                job = dict(kind="mel", level=MEL_LEVELS[sound], samples=8000)
            else:
                self.table.fail(name, "unknown sound")
                continue
            self.dump.add(self.table, name, job, lambda got, n=name: self.check_mel(n, data, got["mel"]))

    def check_mel(self, name, data, mel):
        """The golden has zeros where a window reaches past the samples; we make no such frames."""
        valid = data[name + ".mask"].sum()
        self.table.add(name, "valid frames", differing(len(mel), valid), 0)
        if len(mel) != valid or valid == 0:
            return
        rows = data.get(name + ".rows", np.arange(valid))
        rows = rows[rows < valid]
        want = data[name] if name in data else data[name + ".values"]
        self.table.add(name, "log-mel, absolute", np.abs(mel[rows] - want[: len(rows)]).max(), MEL)
        if name + ".rowsum" in data:
            self.table.add(name, "mean of each frame", np.abs(mel.sum(1) - data[name + ".rowsum"][:valid]).max() / mel.shape[1], MEL)

    # ---- words
    def vocabulary(self):
        plain = self.model("gemma-4-vocab.gguf")
        if plain is not None:
            return plain
        for packed in VOCABULARIES:
            if packed.is_file():
                path = self.dump.folder / "gemma-4-vocab.gguf"
                if not path.exists():
                    path.write_bytes(lzma.decompress(packed.read_bytes()))
                return str(path)
        return None

    def tokenize(self, file, _):
        self.understood.add(file)
        golden = json.loads((self.goldens / file).read_text())
        vocabulary = self.vocabulary()
        if vocabulary is None:
            return self.table.fail(file, "no gemma-4-vocab.gguf")
        strings = golden["same"] + golden["differ"]
        job = dict(kind="tokenize", model=vocabulary, texts=[s["text"] for s in strings])
        self.dump.add(self.table, "tokenize", job, lambda got: self.table.add(
            "tokenize", f"{len(strings)} strings", sum(a != s["ids"] for a, s in zip(got.result["ids"], strings)), 0))

    def chat(self, file, _):
        self.understood.add(file)
        golden = json.loads((self.goldens / file).read_text())
        vocabulary = self.vocabulary()
        if vocabulary is None:
            return self.table.fail(file, "no gemma-4-vocab.gguf")
        for i, conversation in enumerate(golden["conversations"]):
            case = f"chat/{i}"
            unserved = not_served(conversation)
            if unserved:
                self.table.skip(case, unserved)
                continue
            job = dict(kind="chat", model=vocabulary, template=golden["template_e4b"], messages=conversation["messages"],
                       thinking=conversation["options"].get("enable_thinking", False),
                       add_generation_prompt=conversation["options"].get("add_generation_prompt", True))
            # The template leaves a placeholder; transformers' processor then puts the rows between markers.
            text = conversation["text_e4b"]
            for kind in ("image", "audio"):
                text = text.replace(f"<|{kind}|>", f"<|{kind}><|{kind}|><{kind}|>")
            text = text.replace("<|video|>", "00:00 <|image><|video|><image|>")  # of one frame
            self.dump.add(self.table, case, job, lambda got, c=case, t=text: self.table.add(
                c, "rendered", 0 if got.result["text"] == t else 1, 0, "" if got.result["text"] == t else repr(got.result["text"])))


HANDLERS = [
    ("index.json", lambda parity, file, name: None),
    ("text.npz", Parity.text),
    ("image.npz", Parity.image),
    ("prompts.npz", Parity.prompts),
    ("quants.npz", Parity.quants),
    ("audio.npz", Parity.audio),
    ("mel.npz", Parity.mel),
    ("resize.npz", Parity.resize),
    ("counts.npz", Parity.counts),
    ("tokenize.json", Parity.tokenize),
    ("chat.json", Parity.chat),
]


def prompts_of(data):
    return [k.removesuffix(".tokens") for k in data if k.endswith(".tokens")]


def text_job(data, prompt, model):
    return dict(kind="text", model=model, tokens=data[f"{prompt}.tokens"].tolist(), greedy=len(data[f"{prompt}.greedy"]),
                logit_rows=data[f"{prompt}.logit_rows"].tolist(), kv_f32=True)


def differing(got, want):
    """How many entries differ; infinite for another shape."""
    got, want = np.asarray(got), np.asarray(want)
    return float("inf") if got.shape != want.shape else int(np.sum(got != want))


def not_made(data, key):
    """Whether these would be llama.cpp's soft tokens, through which not every model was run."""
    return key.startswith("llama.") and key not in data and f"{key}.values" not in data


def soft_error(got, data, key):
    """Error of soft tokens against a golden kept whole (`key`) or sparsely (some rows; sums and norms of all rows)."""
    if key in data:
        return relative_error(got, data[key])
    if list(got.shape) != data[key + ".shape"].tolist():
        return float("inf")
    norms = data[key + ".rownorm"].astype(np.float64)
    ours = got.astype(np.float64)
    return max(
        relative_error(got[data[key + ".rows"]], data[key + ".values"]),
        float(np.max(np.abs(np.linalg.norm(ours, axis=1) - norms) / norms)),
        float(np.max(np.abs(ours.sum(1) - data[key + ".rowsum"]) / (norms * np.sqrt(got.shape[1])))),
    )


def not_served(conversation):
    """Why a conversation of the chat golden is not ours to render; empty when it is."""
    if conversation["options"].get("tools"):
        return "tools are not served yet"
    for message in conversation["messages"]:
        if message["role"] not in ("system", "user", "assistant"):
            return f"role {message['role']} is not in the contract"
        if "tool_calls" in message or "tool_responses" in message:
            return "tools are not served yet"
    return ""


def main():
    parser = argparse.ArgumentParser(prog="tests/parity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path, help="folder of goldens: index.json, NAME-text.npz, NAME-image.npz, …")
    parser.add_argument("--models", type=Path, action="append", default=[],
                        help="folder of NAME-F16.gguf and mmproj-NAME-F16.gguf (default: ../models beside DIR); may be repeated")
    parser.add_argument("--backend", default="cpu", help="cpu (default), cpu-generic, cpu-avx2, cpu-avx512, cuda or ref")
    parser.add_argument("--small", action="store_true",
                        help="what an emulated GPU does in a minute: one size of chunks, small pictures and short sounds, pictures exactly by stages only")
    parser.add_argument("--failed-only", action="store_true", help="print failed checks only")
    parser.add_argument("--dump", required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not (args.dir / "index.json").is_file():
        parser.error(f"{args.dir}: no index.json: this is no folder of goldens")
    models = args.models + [args.dir / "../models", args.dir] + MODEL_FOLDERS
    table = Table()
    with tempfile.TemporaryDirectory(prefix="softsplice-parity-") as folder:
        Parity(args.dir, models, Dump(args.dump, Path(folder), args.backend), table, args.small).run()
    return 1 if table.print(not args.failed_only) else 0


if __name__ == "__main__":
    sys.exit(main())
