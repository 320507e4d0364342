"""Model files that differ from the demo's in one thing, as fine-tunes and converters make them."""

import gguf
import numpy
from support import MMPROJ, MODEL


class Rewritten:
    """A GGUF file's keys and tensors; both may be changed before it is written."""

    def __init__(self, source=MODEL):
        reader = gguf.GGUFReader(source)
        self.keys = {
            name: (field.contents(), field.types[0], field.types[-1])
            for name, field in reader.fields.items()
            if not name.startswith("GGUF.") and name != "general.architecture"
        }
        self.architecture = reader.fields["general.architecture"].contents()
        self.tensors = {t.name: (numpy.array(t.data), t.tensor_type) for t in reader.tensors}

    def set(self, key, value, kind):
        self.keys[key] = (value, kind, kind)

    def add_zeros(self, tensor):
        self.tensors[tensor] = (numpy.zeros(8, numpy.float32), gguf.GGMLQuantizationType.F32)

    def write(self, path):
        writer = gguf.GGUFWriter(path, self.architecture)
        for key, (value, kind, inner) in self.keys.items():
            sub = inner if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, value, kind, sub)
        for name, (data, kind) in self.tensors.items():
            writer.add_tensor(name, data, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def one_tower(kept):
    """The encoder with its "vision" or its "audio" tower alone."""
    model = Rewritten(MMPROJ)
    lost = "audio" if kept == "vision" else "vision"
    model.set(f"clip.has_{lost}_encoder", False, gguf.GGUFValueType.BOOL)
    of_sounds = ("a.", "mm.a.")
    model.tensors = {
        name: tensor
        for name, tensor in model.tensors.items()
        if name.startswith(of_sounds) == (kept == "audio")
    }
    return model


def untied_head():
    """Its logits are the plain model's, each of the token whose id is 7 smaller."""
    model = Rewritten()
    table, kind = model.tensors["token_embd.weight"]
    model.tensors["output.weight"] = (numpy.roll(table, 7, axis=0), kind)
    return model


def padding_is_eos():
    model = Rewritten()
    eos = model.keys["tokenizer.ggml.eos_token_id"][0]
    model.set("tokenizer.ggml.padding_token_id", eos, gguf.GGUFValueType.UINT32)
    return model


def scaled_positions():
    model = Rewritten()
    model.set("gemma4.rope.scaling.type", "linear", gguf.GGUFValueType.STRING)
    model.set("gemma4.rope.scaling.factor", 8.0, gguf.GGUFValueType.FLOAT32)
    return model


def without_a_tensor():
    model = Rewritten()
    del model.tensors["blk.5.ffn_down.weight"]
    return model


def other_tokenizer():
    model = Rewritten()
    model.set("tokenizer.ggml.model", "llama", gguf.GGUFValueType.STRING)
    return model


def with_a_bias():
    model = Rewritten()
    model.add_zeros("blk.0.attn_q.bias")
    return model


def with_unknown_names():
    """None of which a layer has."""
    model = Rewritten()
    model.set("gemma4.attention.novelty", 1, gguf.GGUFValueType.UINT32)
    model.add_zeros("novel.weight")
    return model


def in_mxfp4():
    model = Rewritten()
    _, kind = model.tensors["blk.0.ffn_up.weight"]
    shape = gguf.quant_shape_from_byte_shape(model.tensors["blk.0.ffn_up.weight"][0].shape, kind)
    blocks = numpy.zeros((shape[0], shape[1] // 32 * 17), numpy.uint8)
    model.tensors["blk.0.ffn_up.weight"] = (blocks, gguf.GGMLQuantizationType.MXFP4)
    return model
