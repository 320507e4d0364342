"""The least time that a card needs for a piece of work on Gemma 4 E4B: the bytes that have to come from its memory, or the
products that its matrix units have to make, whichever takes longer."""

BANDWIDTH = {"H100": 3.35e12, "H200": 4.8e12}  # bytes/s, of the SXM cards
PRODUCTS = 645e12  # FLOP/s of mma.sync with BF16 inputs, as step 1 of the run book saw an H100 reach

# Bytes of weights that a decode step reads: layers, per-layer projection, head.
WEIGHTS = {"BF16": 9.29e9, "Q8_0": 4.96e9, "Q4_0": 2.83e9, "Q4_K_M": 2.97e9}
PREFILL_FLOP = 4.63e9  # a prompt token, without attention
MEDIA_FLOP = {"image_280": 1.07e12, "image_1120": 8.0e12, "sound": 0.43e12}
SLIDING_LAYERS, FULL_LAYERS, WINDOW = 35, 7, 512
SLIDING_ROW, FULL_ROW = 2 * 2 * 256 * 2, 2 * 2 * 512 * 2  # bytes of keys and values: 2 heads, float16


def bandwidth(card):
    """Of a card by its name as the driver gives it; None for others than those above."""
    return next((value for name, value in BANDWIDTH.items() if name in card), None)


def kv_bytes(context):
    """Keys and values that one sequence's decode step reads."""
    return SLIDING_LAYERS * min(context, WINDOW) * SLIDING_ROW + FULL_LAYERS * context * FULL_ROW


def decode_bytes(weights, context, streams):
    return WEIGHTS[weights] + streams * kv_bytes(context)


def decode(card, weights, context, streams):
    """Tokens a second of all sequences together."""
    return streams * bandwidth(card) / decode_bytes(weights, context, streams)


def prefill(card, weights, tokens):
    """Prompt tokens a second."""
    return tokens / max(tokens * PREFILL_FLOP / PRODUCTS, WEIGHTS[weights] / bandwidth(card))


def media(name):
    """Seconds of one medium."""
    return MEDIA_FLOP[name] / PRODUCTS
