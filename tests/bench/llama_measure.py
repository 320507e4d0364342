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


def load(path):
    llama.llama_backend_init()
    params = llama.llama_model_default_params()
    params.n_gpu_layers = 0
    return llama.llama_model_load_from_file(path.encode(), params)


class Context:
    """So many sequences of `length` tokens each; `unified`: one cache for all of them instead of one for each."""

    def __init__(self, model, length, threads, streams=1, unified=False):
        self.model = model
        self.vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
        settings = llama.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = length * streams, 2048, 512
        settings.n_seq_max, settings.kv_unified = streams, unified
        settings.n_threads = settings.n_threads_batch = threads
        settings.flash_attn_type = 1
        self.context = llama.llama_init_from_model(model, settings)
        self.streams = streams
        self.past = 0

    def free(self):
        llama.llama_free(self.context)

    def clear(self):
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)
        self.past = 0

    def decode(self, rows):
        """Rows are (token, position, sequence, whether its logits are wanted). Returns the wanted rows of logits."""
        batch = llama.llama_batch_init(len(rows), 0, 1)
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = int(token), position, 1, sequence
            batch.logits[i] = wanted
        if llama.llama_decode(self.context, batch) != 0:
            raise RuntimeError("llama_decode failed")
        llama.llama_batch_free(batch)
        count = sum(wanted for *_, wanted in rows)
        return np.ctypeslib.as_array(llama.llama_get_logits(self.context), shape=(count, self.vocabulary)) if count else None

    def read(self, tokens):
        """A prompt, in the first sequence."""
        for i in range(0, len(tokens), 2048):
            part = tokens[i : i + 2048]
            logits = self.decode([(token, self.past + j, 0, i + j + 1 == len(tokens)) for j, token in enumerate(part)])
            self.past += len(part)
        return logits

    def copy_first(self):
        """Gives every sequence keys and values like the first one's, in memory of their own."""
        size = llama.llama_state_seq_get_size(self.context, 0)
        state = (ctypes.c_uint8 * size)()
        llama.llama_state_seq_get_data(self.context, state, size, 0)
        for sequence in range(1, self.streams):
            if llama.llama_state_seq_set_data(self.context, state, size, sequence) != size:
                raise RuntimeError("llama_state_seq_set_data failed")

    def write(self, tokens):
        """One token in each sequence."""
        logits = self.decode([(token, self.past, sequence, True) for sequence, token in enumerate(tokens)])
        self.past += 1
        return logits

    def random_tokens(self, n):
        return np.random.default_rng(n).integers(300, self.vocabulary - 300, n)


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def decode_speed(context, depth, steps):
    """Tokens per second of all sequences together."""
    context.clear()
    context.read(context.random_tokens(depth))
    context.copy_first()
    tokens = context.random_tokens(context.streams)
    start = time.time()
    for _ in range(steps):
        tokens = context.write(tokens).argmax(axis=1)
    return context.streams * steps / (time.time() - start)


def measure_streams(model, depth, streams, args):
    """The same with the kind of cache that is faster."""
    best = 0
    for unified in (False, True):
        context = Context(model, depth + args.steps, args.threads, streams, unified)
        best = max(best, decode_speed(context, depth, args.steps))
        context.free()
    return best


def measure_text(args, out):
    lengths = [int(n) for n in args.prefill.split(",") if n]
    decodings = [(int(depth), int(streams or 1)) for depth, _, streams in (text.partition("x") for text in args.decode.split(","))]
    start = time.time()
    model = load(args.model)
    context = Context(model, max(lengths + [depth for depth, _ in decodings]) + args.steps + 64, args.threads)
    out["load_s"] = time.time() - start
    context.read(context.random_tokens(16))
    for n in lengths:
        context.clear()
        start = time.time()
        context.read(context.random_tokens(n))
        out[f"prefill_{n}_tok_s"] = n / (time.time() - start)
    for depth, streams in decodings:
        if streams == 1:
            out[f"decode_{depth}_tok_s"] = decode_speed(context, depth, args.steps)
        else:
            out[f"decode_{depth}x{streams}_tok_s"] = measure_streams(model, depth, streams, args)
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
    parser.add_argument("--prefill", default="")
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
