"""The llama.cpp side of tests/bench/compare: the same measurements as softsplice-measure through llama_cpp's C API, with its
default settings (float16 KV cache, flash attention on, 512 rows a batch). Prints JSON."""

import argparse
import ctypes
import json
import resource
import time
import wave

import llama_cpp as llama
import llama_cpp.mtmd_cpp as mtmd
import numpy as np
from PIL import Image


def silence():
    callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    for setter in (llama.llama_log_set, mtmd.mtmd_log_set, mtmd.mtmd_helper_log_set):
        setter(ctypes.cast(callback, llama.llama_log_callback), None)
    return callback


class Context:
    def __init__(self, path, length, threads):
        llama.llama_backend_init()
        params = llama.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama.llama_model_load_from_file(path.encode(), params)
        self.vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        settings = llama.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = length, 2048, 512
        settings.n_threads = settings.n_threads_batch = threads
        settings.flash_attn_type = 1
        self.context = llama.llama_init_from_model(self.model, settings)
        self.past = 0

    def clear(self):
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)
        self.past = 0

    def read(self, tokens):
        for i in range(0, len(tokens), 2048):
            part = [int(t) for t in tokens[i : i + 2048]]
            batch = llama.llama_batch_init(len(part), 0, 1)
            batch.n_tokens = len(part)
            for j, token in enumerate(part):
                batch.token[j], batch.pos[j], batch.n_seq_id[j], batch.seq_id[j][0] = token, self.past + j, 1, 0
                batch.logits[j] = i + j + 1 == len(tokens)
            if llama.llama_decode(self.context, batch) != 0:
                raise RuntimeError("llama_decode failed")
            llama.llama_batch_free(batch)
            self.past += len(part)
        return np.ctypeslib.as_array(llama.llama_get_logits(self.context), shape=(self.vocabulary,))

    def random_tokens(self, n):
        return np.random.default_rng(n).integers(300, self.vocabulary - 300, n)


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_text(args, out):
    lengths = [int(n) for n in args.prefill.split(",")]
    depths = [int(n) for n in args.decode.split(",")]
    start = time.time()
    context = Context(args.model, max(lengths + depths) + args.steps + 64, args.threads)
    out["load_s"] = time.time() - start
    context.read(context.random_tokens(16))
    for n in lengths:
        context.clear()
        start = time.time()
        context.read(context.random_tokens(n))
        out[f"prefill_{n}_tok_s"] = n / (time.time() - start)
    for n in depths:
        context.clear()
        logits = context.read(context.random_tokens(n))
        start = time.time()
        for _ in range(args.steps):
            logits = context.read([logits.argmax()])
        out[f"decode_{n}_tok_s"] = args.steps / (time.time() - start)
    out["text_peak_mb"] = peak_mb()
    return context


class MediaEncoder:
    """The towers of an mmproj file."""

    def __init__(self, path, context, threads):
        params = mtmd.mtmd_context_params_default()
        params.use_gpu, params.print_timings, params.n_threads, params.warmup = False, False, threads, False
        params.flash_attn_type = 1
        params.image_min_tokens = params.image_max_tokens = 280
        self.context = mtmd.mtmd_init_from_file(path.encode(), context.model, params)

    def encode(self, bitmap):
        """Soft tokens of one picture or sound: how many."""
        text = mtmd.mtmd_input_text()
        text.text = mtmd.mtmd_default_marker()
        text.text_len = len(text.text)
        text.add_special, text.parse_special = False, True
        chunks = mtmd.mtmd_input_chunks_init()
        if mtmd.mtmd_tokenize(self.context, chunks, ctypes.byref(text), (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap), 1) != 0:
            raise RuntimeError("mtmd_tokenize failed")
        tokens = 0
        for i in range(mtmd.mtmd_input_chunks_size(chunks)):
            chunk = mtmd.mtmd_input_chunks_get(chunks, i)
            if mtmd.mtmd_input_chunk_get_type(chunk) != mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
                if mtmd.mtmd_encode_chunk(self.context, chunk) != 0:
                    raise RuntimeError("mtmd_encode_chunk failed")
                tokens += mtmd.mtmd_input_chunk_get_n_tokens(chunk)
        return tokens


def samples_of(path):
    with wave.open(path, "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def measure_media(args, context, out):
    start = time.time()
    encoder = MediaEncoder(args.mmproj, context, args.threads)
    out["mmproj_load_s"] = time.time() - start
    pixels = np.ascontiguousarray(Image.open(args.image).convert("RGB"))
    start = time.time()
    bitmap = mtmd.mtmd_bitmap_init(pixels.shape[1], pixels.shape[0], pixels.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8)))
    out["image_280_tokens"] = encoder.encode(bitmap)
    out["image_280_s"] = time.time() - start
    samples = samples_of(args.sound)
    start = time.time()
    bitmap = mtmd.mtmd_bitmap_init_from_audio(len(samples), samples.ctypes.data_as(ctypes.POINTER(ctypes.c_float)))
    out["sound_tokens"] = encoder.encode(bitmap)
    out["sound_s"] = time.time() - start
    out["peak_mb"] = peak_mb()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--mmproj")
    parser.add_argument("--image")
    parser.add_argument("--sound")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--prefill", required=True)
    parser.add_argument("--decode", required=True)
    parser.add_argument("--steps", type=int, default=16)
    args = parser.parse_args()
    keep = silence()
    out = {}
    context = measure_text(args, out)
    if args.mmproj:
        measure_media(args, context, out)
    print(json.dumps(out))
    del keep


if __name__ == "__main__":
    main()
