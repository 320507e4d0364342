"""Media that come again, or that several clients want at once: encoded once, answered as if anew."""

import wave
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from services import ENCODER, Client, error, sample, start_decoder, start_encoder
from support import PATIENCE, wait_until

PICTURE, SOUND = sample("circle-square.png"), sample("digits-314.mp3")
F32, F16, BF16 = 1, 2, 3


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with start_encoder(tmp_path_factory.mktemp("c")) as service, Client(service) as client:
        yield client


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """An encoder that keeps nothing."""
    folder = tmp_path_factory.mktemp("f")
    with start_encoder(folder, "--cache-bytes", 0) as service, Client(service) as client:
        yield client


def long_sound(seconds=61):
    """Of several segments: a chirp."""
    samples = b"".join(
        ((i * i // 997) % 8191 * 4).to_bytes(2, "little") for i in range(16000 * seconds)
    )
    file = BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(samples)
    return file.getvalue()


@pytest.mark.parametrize(
    "medium",
    [{"data": PICTURE}, {"data": SOUND, "audio": True}, {"data": long_sound(), "audio": True}],
    ids=["picture", "sound", "segments"],
)
def test_a_hit_is_to_the_byte_what_a_fresh_pass_gives(client, fresh, medium):
    first = client.encode(data_type=BF16, **medium)
    assert not first[2].cache_hit
    for data_type in (F32, F16, BF16):
        header, data, summary = client.encode(data_type=data_type, **medium)
        expected = fresh.encode(data_type=data_type, **medium)
        assert summary.cache_hit and not expected[2].cache_hit
        assert summary.timings.forward.ToNanoseconds() == 0
        assert header.SerializeToString() == expected[0].SerializeToString()
        assert data == expected[1]
        assert summary.crc32c == expected[2].crc32c


def test_what_is_said_of_a_medium_is_no_key(client):
    client.encode(data=PICTURE)
    assert error(lambda: client.encode(data=PICTURE, mime_type="image/gif"))[2] == "INVALID_FIELD"
    assert error(lambda: client.encode(data=PICTURE, data_type=9))[3] == "data_type"
    assert error(lambda: client.encode(data=PICTURE, max_soft_tokens=71))[2] == "INVALID_FIELD"
    assert error(lambda: client.encode(data=PICTURE[:100]))[2] == "INVALID_MEDIA"
    assert not client.encode(data=PICTURE, max_soft_tokens=1120)[2].cache_hit
    assert client.encode(data=PICTURE, mime_type="image/png")[2].cache_hit


def test_many_who_want_the_same_share_a_pass(tmp_path, fresh):
    with start_encoder(tmp_path, "--max-queue", 1) as service, Client(service) as client:
        request = client.type("EncodeImageRequest")(data=PICTURE, max_soft_tokens=1120)
        leaves = client.method(ENCODER, "EncodeImage")(request, timeout=PATIENCE)
        wait_until(lambda: client.info(ENCODER).load.cache_misses == 1)
        with ThreadPoolExecutor(16) as threads:
            answers = [
                threads.submit(client.encode, data=PICTURE, max_soft_tokens=1120) for _ in range(16)
            ]
            leaves.cancel()
            expected = fresh.encode(data=PICTURE, max_soft_tokens=1120)[1]
            assert all(answer.result()[1] == expected for answer in answers)
        load = client.info(ENCODER).load
        # Where the first one went before the others came, the next one began anew.
        assert load.cache_misses <= 2 and load.cache_hits + load.cache_misses == 17
        assert (load.queued, load.encoding, load.decoding) == (0, 0, 0)


def test_the_cache_keeps_to_its_bytes(tmp_path):
    with start_encoder(tmp_path, "--cache-bytes", 1 << 20) as service, Client(service) as client:
        assert client.info(ENCODER).limits.cache_bytes == 1 << 20
        for budget in (70, 140, 280, 560, 1120):
            picture = {"data": PICTURE, "max_soft_tokens": budget, "data_type": F32}
            rows = client.encode(**picture)[1]
            hit = client.encode(**picture)[2].cache_hit
            assert hit == (len(rows) + 1024 <= 1 << 18), budget  # a quarter
            assert client.info(ENCODER).load.cache_bytes <= 1 << 20


def test_the_decoder_tells_it(tmp_path):
    with (
        start_encoder(tmp_path) as encoder,
        start_decoder(tmp_path, encoder) as decoder,
        Client(decoder) as client,
    ):
        for hit in (False, True):
            request = client.chat([("user", [PICTURE, "What is in this picture?"])])
            request.no_prefix_cache = True  # else it would not ask the encoder again
            started, _, _ = client.generate(request)
            assert [use.encoder_cache_hit for use in started.media] == [hit]
