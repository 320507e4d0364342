"""Clients with default options, and clients that know nothing but reflection."""

import gguf
import grpc
import numpy as np
import pytest
import services
from services import DECODER, ENCODER, Client, start_decoder, start_encoder
from support import MMPROJ, ROOT

WIDTH = 2560


def widen(source, target):
    """The demo encoder with rows as wide as the full-size model's."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "clip")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        value = field.contents()
        if field.name in ("clip.vision.projection_dim", "clip.audio.projection_dim"):
            value = WIDTH
        sub_type = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, value, kind, sub_type)
    for tensor in reader.tensors:
        data = tensor.data
        if tensor.name in ("mm.input_projection.weight", "mm.a.input_projection.weight"):
            data = np.resize(data, (WIDTH, data.shape[1]))
        writer.add_tensor(tensor.name, data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s")
    with start_encoder(folder) as encoder, start_decoder(folder, encoder) as decoder:
        yield encoder, decoder


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_lists_and_describes_everything(pair, version):
    for service, name in zip(pair, (ENCODER, DECODER), strict=True):
        with grpc.insecure_channel(service.address) as channel:
            answer = services.reflection_request(channel, version, list_services="")
            names = {s.name for s in answer.list_services_response.service}
            assert names == {
                name,
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
            }
            for symbol in [*names, "google.rpc.BadRequest", f"{name}.Get{name[14:21]}Info"]:
                answer = services.reflection_request(
                    channel, version, file_containing_symbol=symbol
                )
                assert answer.file_descriptor_response.file_descriptor_proto, symbol
            missing = services.reflection_request(
                channel, version, file_containing_symbol="no.such.Thing"
            )
            assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
            empty = services.reflection_request(channel, version)
            assert empty.error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_calls_every_method(pair):
    encoder, decoder = pair
    picture = services.sample("circle-square.png")
    with Client(encoder) as client:
        header, data, summary = client.encode(data=picture)
        assert len(data) == header.rows * header.dim * 2
        assert summary.crc32c == services.crc32c(data)
        info = client.info(ENCODER)
        assert (info.dim, info.has_image_tower) == (header.dim, True)
        assert info.encoder_fingerprint == header.encoder_fingerprint
        assert len(info.encoder_fingerprint) == 32 and info.model_name and info.backend
        sound = services.sample("digits-9025.wav")
        heard, data, summary = client.encode(audio=True, data=sound)
        assert len(data) == heard.rows * heard.dim * 2 and heard.modality == 2
        assert summary.crc32c == services.crc32c(data)
        (segment,) = heard.audio.segments
        assert (segment.first_row, segment.rows) == (0, heard.rows)
        assert heard.encoder_fingerprint == header.encoder_fingerprint
        assert info.has_audio_tower and info.limits.max_audio_duration.seconds == 600
        video = (ROOT / "tests/data/video/short.mp4").read_bytes()
        seen, data, summary = client.encode(video=True, data=video, max_frames=2)
        assert len(data) == seen.rows * seen.dim * 2 and seen.modality == 3
        assert summary.crc32c == services.crc32c(data)
        assert seen.encoder_fingerprint == header.encoder_fingerprint
        assert info.limits.max_video_duration.seconds == 600
        methods = {m.name for m in client.pool.FindServiceByName(ENCODER).methods}
        assert methods == {"EncodeImage", "EncodeAudio", "EncodeVideo", "GetEncoderInfo"}
    with Client(decoder) as client:
        started, text, finished = client.generate(client.chat([("user", ["Hello!"])]))
        assert text and finished.usage.completion_tokens > 0
        count = client.type("CountTokensRequest")(include_rendered=True, include_token_ids=True)
        count.chat.messages.add(role="ROLE_USER").parts.add(text="Hello!")
        counted = client.method(DECODER, "CountTokens")(count)
        assert counted.tokens == started.prompt_tokens == len(counted.token_ids)
        turns = "<bos><|turn>user\nHello!<turn|>\n<|turn>model\n"
        assert counted.rendered == turns + "<|channel>thought\n<channel|>"
        info = client.info(DECODER)
        assert info.encoders[0].healthy and info.encoders[0].address == encoder.address
        assert info.encoder_fingerprint == header.encoder_fingerprint
        methods = {m.name for m in client.pool.FindServiceByName(DECODER).methods}
        assert methods == {
            *("Generate", "CountTokens", "GetDecoderInfo"),
            *("CreateSession", "ForkSession", "DeleteSession"),
        }


@pytest.mark.parametrize(
    "name, kind, question",
    [
        ("circle-square.png", "image", "What is in this picture?"),
        ("digits-314.mp3", "audio", "Transcribe the audio."),
    ],
)
def test_counts_media_without_reading_them(pair, name, kind, question):
    _, decoder = pair
    with Client(decoder) as client:
        request = client.chat([("user", [services.sample(name), question])])
        started, _, _ = client.generate(request)
        count = client.type("CountTokensRequest")(chat=request.chat, include_rendered=True)
        counted = client.method(DECODER, "CountTokens")(count)
        assert counted.tokens == started.prompt_tokens
        rows = started.media[0].header.rows
        assert f"<|{kind}>… {rows} soft tokens …<{kind}|>" in counted.rendered


def test_default_client_gets_all_rows_at_every_budget(tmp_path):
    wide = tmp_path / "wide.gguf"
    widen(MMPROJ, wide)
    picture = services.sample("circle-square.png")
    with start_encoder(tmp_path, mmproj=wide) as encoder, Client(encoder) as client:
        for budget in (70, 140, 280, 560, 1120):
            header, data, summary = client.encode(data=picture, max_soft_tokens=budget)
            assert header.image.max_soft_tokens == budget
            assert budget * 0.7 < header.rows <= budget
            assert header.rows == header.image.grid_rows * header.image.grid_columns
            assert header.dim == WIDTH and len(data) == header.rows * WIDTH * 2
            if budget == 70:
                assert summary.crc32c == services.crc32c(data)
        assert len(data) > 4 << 20
        only, nothing, _ = client.encode(data=picture, max_soft_tokens=1120, header_only=True)
        assert only == header and nothing == b""
        _, floats, _ = client.encode(data=picture, max_soft_tokens=1120, data_type=1)
        exact = np.frombuffer(floats, np.float32)
        # To nearest even: half of the last of 8 bits.
        rounded = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
        assert np.all(np.abs(rounded - exact) <= np.abs(exact) * 2.0**-8)
        bits = exact.view(np.uint32)
        expected = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        assert np.array_equal(expected.astype(np.uint16), np.frombuffer(data, np.uint16))
        _, halves, _ = client.encode(data=picture, max_soft_tokens=1120, data_type=2)
        assert np.array_equal(exact.astype(np.float16), np.frombuffer(halves, np.float16))
