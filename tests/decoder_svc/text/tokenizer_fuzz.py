"""Compares our tokenizer with Hugging Face's `tokenizers` on generated strings, over the vocabulary of a GGUF file.

    tokenizer_fuzz.py --program build/tests/softsplice-tokenize --vocab VOCAB.gguf [--strings 20000] [--seed 1]

Half of the strings are read with control tokens parsed, half as plain text (then Hugging Face's side knows no control
tokens either). Exits 1 when one string differs.
"""
import argparse
import random
import struct
import subprocess
import sys
import unicodedata

CONTROL, USER_DEFINED = 3, 4

# One line each in many scripts; pieces of them are mixed.
SAMPLES = """The quick brown fox jumps over the lazy dog, doesn't it? 1,234.56 + 7e-3 = N/A
Voix ambiguë d'un cœur qui, au zéphyr, préfère les jattes de kiwis. ÆØÅ ß ẞ Žluťoučký
Съешь же ещё этих мягких французских булок, да выпей чаю. Ґанок їжак
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία· ἀρχή
עטלף אבק נס דרך מזגן שהתפוצץ כי חם
نص حكيم له سر قاطع وذو شأن عظيم ١٢٣ پچگژ
ऋषियों को सताने वाले दुष्ट राक्षसों के राजा १२३
আমি কাচ খেতে পারি, তাতে আমার কোনো ক্ষতি হয় না।
நான் கண்ணாடி சாப்பிடுவேன் తెలుగు ಕನ್ನಡ മലയാളം ગુજરાતી ਪੰਜਾਬੀ සිංහල
เป็นมนุษย์สุดประเสริฐเลิศคุณค่า ພາສາລາວ ភាសាខ្មែរ မြန်မာဘာသာ
天地玄黃 宇宙洪荒。日月盈昃,辰宿列張、你好世界!
いろはにほへと ちりぬるを カタカナ 日本語のテキスト、全角123
키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.
ქართული ენა Հայերեն አማርኛ ትግርኛ བོད་སྐད ᠮᠣᠩᠭᠣᠯ ᏣᎳᎩ ᓀᐦᐃᔭᐍᐏᐣ ⵜⴰⵎⴰⵣⵉⵖⵜ
🦙🚀😶‍🌫️ 👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪🇫🇷 ✅❌⚠️ ☃ 🧿🫨 1️⃣
def f(x: int) -> str:\treturn {"a": [x ** 2, None]} # comment; if (a && b) { return a->b[0]; }
$\\frac{a}{b}$ ∑∫√∞≠≤ x² y₃ ½ ① Ⅷ ﬁ 𝕳𝖊𝖑𝖑𝖔 𐍈𐌰 𓀀𓂀 e\u0301 Z\u0351\u036b
<table><tr><td>x</td></tr></table> </s> <s> <unused0> [multimodal] <0x0A> <0xE2><0x96><0x81> &amp; \u2581 \u2581\u2581a
http://example.com/a?b=c&d=%20#frag user@example.org C:\\Users\\x /usr/local/bin --flag=value __init__""".split("\n")


def read_vocabulary(path):
    """Tokens, types and merges of a GGUF file (gguf-py takes half a minute for as many strings)."""
    formats = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
    string, array = 8, 9
    with open(path, "rb") as file:
        def number(fmt):
            return struct.unpack(fmt, file.read(struct.calcsize(fmt)))[0]

        def value(kind):
            if kind == string:
                return file.read(number("<Q")).decode("utf-8")
            if kind == array:
                kind, count = number("<I"), number("<Q")
                return [value(kind) for _ in range(count)]
            return number(formats[kind])

        magic, version, _, pairs = struct.unpack("<4sIQQ", file.read(24))
        if magic != b"GGUF" or version != 3:
            sys.exit(f"{path} is not a GGUF v3 file")
        fields = {}
        for _ in range(pairs):
            key = value(string)
            fields[key] = value(number("<I"))
    return tuple(fields["tokenizer.ggml." + name] for name in ("tokens", "token_type", "merges"))


def reference(tokens, types, merges, control):
    """Gemma 4's tokenizer as transformers sets it up; without control tokens unless `control`."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
    pairs = []
    for merge in merges:
        cut = merge.index(" ", 1)
        pairs.append((merge[:cut], merge[cut + 1:]))
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=pairs, unk_token="<unk>", fuse_unk=True,
                                     byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    if control:
        tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t, y in zip(tokens, types)
                                      if y in (CONTROL, USER_DEFINED)])
    return tokenizer


class Generator:
    """Strings that try what tokenizers get wrong."""

    def __init__(self, seed, tokens, types):
        self.random = random.Random(seed)
        self.tokens = [t for t, y in zip(tokens, types) if y == 1]
        self.controls = [t for t, y in zip(tokens, types) if y in (CONTROL, USER_DEFINED)]
        assigned = [c for c in range(0x20000) if unicodedata.category(chr(c)) not in ("Cs", "Cn")]
        self.assigned = [chr(c) for c in assigned]
        self.kinds = [self.sample, self.words, self.assigned_char, self.any_char, self.run, self.control_char, self.token, self.ascii_noise,
                      self.look_alike, self.many_spaces]

    def sample(self):
        line = self.random.choice(SAMPLES)
        a, b = sorted(self.random.randrange(len(line) + 1) for _ in range(2))
        return line[a:b]

    def words(self):
        return self.random.choice([" ", "", ", ", "\n", "  "]).join(self.random.choices(self.random.choice(SAMPLES).split(), k=self.random.randrange(1, 6)))

    def assigned_char(self):
        return "".join(self.random.choices(self.assigned, k=self.random.randrange(1, 6)))

    def any_char(self):
        code = self.random.choice([0x80, 0x800, 0x10000, 0x110000])
        char = chr(self.random.randrange(code))
        return "" if 0xD800 <= ord(char) < 0xE000 else char

    def run(self):
        return self.random.choice("\n \t\r\u2581a-=.~*<🦙漢0") * self.random.choice([1, 2, 3, 4, 7, 8, 15, 16, 17, 23, 24, 25, 26, 31, 32, 33, 64, 100])

    def many_spaces(self):
        return "".join(self.random.choices(" \n\t\r\u2581\u00a0\u3000\u2028\u200b", k=self.random.randrange(1, 12)))

    def control_char(self):
        return chr(self.random.choice([*range(0x20), 0x7F, *range(0x80, 0xA0), 0xAD, 0x200D, 0x202E, 0xFEFF, 0xFFFD, 0xFFFF, 0xE000, 0x10FFFF]))

    def token(self):
        return "".join(self.random.choice(self.tokens).replace("\u2581", self.random.choice([" ", "\u2581"])) for _ in range(self.random.randrange(1, 5)))

    def ascii_noise(self):
        return "".join(chr(self.random.randrange(0x20, 0x7F)) for _ in range(self.random.randrange(1, 20)))

    def look_alike(self):
        control = self.random.choice(self.controls)
        cut = self.random.randrange(len(control) + 1)
        return self.random.choice([control, control, control + control[:cut], control[:cut], control[cut:], "<" + control, control + ">",
                                   control.upper(), control[:cut] + " " + control[cut:], "<|turn|>", "<start_of_turn>", "<unk>", "<0x41>"])

    def string(self):
        return "".join(self.random.choice(self.kinds)() for _ in range(self.random.choice([1, 1, 2, 3, 5, 8, 20])))


def ours(program, vocab, strings):
    packed = b"".join(struct.pack("<BI", special, len(data)) + data for special, data in
                      ((special, text.encode("utf-8")) for special, text in strings))
    out = subprocess.run([program, vocab], input=packed, stdout=subprocess.PIPE, check=True).stdout.decode()
    lines = out.split("\n")[:-1]
    if len(lines) != len(strings):
        sys.exit(f"{program} answered {len(lines)} of {len(strings)} strings")
    return [[int(i) for i in line.split()] for line in lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--vocab", required=True)
    parser.add_argument("--strings", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    tokens, types, merges = read_vocabulary(args.vocab)
    references = {special: reference(tokens, types, merges, special) for special in (False, True)}
    generator = Generator(args.seed, tokens, types)
    strings = [(i % 2 == 1, generator.string()) for i in range(args.strings)]
    expected = [[]] * len(strings)
    for special, tokenizer in references.items():
        places = [i for i, s in enumerate(strings) if s[0] == special]
        for i, encoding in zip(places, tokenizer.encode_batch([strings[i][1] for i in places], add_special_tokens=False)):
            expected[i] = encoding.ids
    different = 0
    for (special, text), want, got in zip(strings, expected, ours(args.program, args.vocab, strings)):
        if want == got:
            continue
        different += 1
        if different <= 10:
            print(f"differs (control tokens {'parsed' if special else 'as text'}): {text!r}\n  expected {want}\n  got      {got}")
    size = sum(len(text.encode("utf-8")) for _, text in strings)
    print(f"{len(strings) - different} of {len(strings)} strings equal ({size} bytes, {sum(map(len, expected))} tokens, seed {args.seed})")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
