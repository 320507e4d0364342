"""Renders more conversations than chat.json with the templates themselves (jinja2) into chat_more.json.

    python make_chat_more.py FIRST_RELEASE.jinja JULY.jinja

The first is in gemma-4-vocab.gguf (tokenizer.chat_template), the second in google/gemma-4-E4B-it of July 2026 (chat_template.jinja).
"""
import json
import os
import sys

from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = os.path.dirname(os.path.abspath(__file__))


def turn(role, *parts):
    return {"role": role, "content": [p if isinstance(p, dict) else {"type": "text", "text": p} for p in parts]}


def conversations():
    image, audio = {"type": "image"}, {"type": "audio"}
    for message in json.load(open(os.path.join(HERE, "../goldens/chat.json"), encoding="utf-8"))["conversations"]:
        if "tools" not in message["options"]:
            yield message["messages"], message["options"]
    prompt = {"add_generation_prompt": True}
    yield [turn("user", "a"), turn("assistant", "b"), turn("assistant", "c"), turn("user", "d")], prompt
    yield [turn("user", "a"), turn("assistant", "b"), turn("assistant", "c")], {**prompt, "enable_thinking": True}
    yield [turn("user", "a"), turn("user", "b")], prompt
    yield [turn("assistant", "hello"), turn("user", "b")], {"add_generation_prompt": False}
    yield [turn("user", " see ", image, "\n\nand\n", audio, "\t.", image)], prompt
    yield [turn("user", image, image, audio)], {**prompt, "enable_thinking": True}
    yield [turn("user", "draw"), turn("assistant", "here: ", image, " done "), turn("user", "thanks")], prompt
    yield [turn("user", ""), turn("assistant", ""), turn("user", " \n ")], prompt
    yield [turn("user", "\u00a0\u3000\u2003 wide \u200b\u2028\u0085\x1c")], prompt
    for text in ("<|channel>thought\nopen", "a<|channel>x<channel|>b<|channel>y<channel|> c ", "x<channel|>y", "<|channel>a<|channel>b<channel|>c",
                 "<channel|><|channel>", " plain\n", "<|channel>"):
        yield [turn("user", "q"), turn("assistant", text), turn("user", "r")], prompt
    yield [turn("system", " Be brief. ", "Be kind.\n"), turn("user", "x")], prompt
    yield [turn("system", "Be brief.", "", "Be kind."), turn("user", "x")], {**prompt, "enable_thinking": True}
    yield [turn("user", "a"), turn("assistant", "b "), turn("assistant", "c", "d"), turn("assistant", image, "e"), turn("user", "f")], prompt
    yield [{"role": "system", "content": "\n Be brief. \n"}, turn("user", "x", "y")], {**prompt, "enable_thinking": True}


def main():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    sources = {
        "text_e4b": json.load(open(os.path.join(HERE, "../goldens/chat.json"), encoding="utf-8"))["template_e4b"],
        "text_large": open(os.path.join(HERE, "chat_template_large.jinja"), encoding="utf-8").read(),
        "text_first_release": open(sys.argv[1], encoding="utf-8").read(),
        "text_july": open(sys.argv[2], encoding="utf-8").read(),
    }
    templates = {name: env.from_string(source) for name, source in sources.items()}

    def render(messages, options):
        # Older ones print a system turn's list as Python does.
        only = ["text_july"] if messages[0]["role"] == "system" and not isinstance(messages[0]["content"], str) else templates
        return {name: templates[name].render(messages=messages, bos_token="<bos>", **options) for name in only}

    out = [{"messages": m, "options": o, **render(m, o)} for m, o in conversations()]
    with open(os.path.join(HERE, "chat_more.json"), "w", encoding="utf-8") as f:
        json.dump({"conversations": out}, f, indent=0)
        f.write("\n")
    print(len(out), "conversations")


if __name__ == "__main__":
    main()
