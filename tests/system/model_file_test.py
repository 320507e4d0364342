"""What services say about their model file when it can't be served, from the start or any more."""

import shutil
import subprocess

from services import DECODER, ENCODER, Client, start_decoder, start_encoder
from support import BIN, MMPROJ, MODEL, PATIENCE, ROOT

OTHER = ROOT / "tests/data/models/tiny-F16.gguf"


def test_a_model_that_is_overwritten_in_place_ends_the_service(tmp_path):
    path = tmp_path / "model.gguf"
    shutil.copyfile(MODEL, path)
    with start_decoder(tmp_path, None, model=path) as decoder:
        with open(path, "r+b") as file:
            file.seek(-1, 2)
            file.write(b"x")
        assert decoder.process.wait(PATIENCE) == 1
        assert f"{path}: was changed while it was in use" in decoder.text()


def test_a_model_that_is_cut_ends_the_service(tmp_path):
    path = tmp_path / "model.gguf"
    shutil.copyfile(MODEL, path)
    with start_decoder(tmp_path, None, model=path) as decoder:
        with open(path, "r+b") as file:
            file.truncate(100)
        assert decoder.process.wait(PATIENCE) == 1
        assert "model" in decoder.text().splitlines()[-1]


def test_a_model_that_is_replaced_goes_on_being_served(tmp_path):
    path = tmp_path / "model.gguf"
    shutil.copyfile(MODEL, path)
    with start_decoder(tmp_path, None, model=path) as decoder:
        shutil.copyfile(OTHER, tmp_path / "new.gguf")
        (tmp_path / "new.gguf").rename(path)
        decoder.wait_serving()
        assert decoder.stop() == 0


def test_a_name_that_is_no_utf8_is_told_as_text(tmp_path):
    """A default client would not parse what holds it as it is."""

    def renamed(model):
        path = tmp_path / f"renamed-{model.name}"
        name = b"Gemma 4 E4B-shaped demo"
        path.write_bytes(model.read_bytes().replace(name, b"\xffemma 4 E4B-shaped dem\xc3"))
        return path

    with (
        start_encoder(tmp_path, mmproj=renamed(MMPROJ)) as encoder,
        start_decoder(tmp_path, encoder, model=renamed(MODEL)) as decoder,
    ):
        for name, service in ((ENCODER, encoder), (DECODER, decoder)):
            with Client(service) as client:
                assert client.info(name).model_name == "\ufffdemma 4 E4B-shaped dem\ufffd"


def test_a_context_over_the_models_own_is_the_models(tmp_path):
    with start_decoder(tmp_path, None, "--context", 10**6) as decoder, Client(decoder) as client:
        (told,) = [e for e in decoder.events() if "the context is what" in e["event"]]
        assert told["level"] == "warning" and told["wanted"] == 10**6
        assert client.info(DECODER).context_length == told["context"] < 10**6


def test_a_model_of_nans_is_not_served(tmp_path):
    data = bytearray(MODEL.read_bytes())
    half = len(data) // 2 // 2 * 2
    data[half:] = b"\xff\x7f" * ((len(data) - half) // 2) + data[len(data) // 2 * 2 :]
    path = tmp_path / "nan.gguf"
    path.write_bytes(data)
    command = [BIN / "softsplice-decoder", "--model", path, "--listen", f"unix:{tmp_path}/s"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert f"{path}: the model's logits are not finite" in done.stderr
