"""Conversations that go on, over gRPC: what is not read again, and that no answer shows it."""

import pytest
from services import DECODER, Client, error, start_decoder, start_encoder
from support import DEMO

PICTURE = (DEMO / "samples/circle-square.png").read_bytes()
SOUND = (DEMO / "samples/digits-314.wav").read_bytes()
# What the template writes behind a turn's opening and does not repeat in the next turn's prompt.
EMPTY_THOUGHT = 7


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    folder = tmp_path_factory.mktemp("c")
    with start_encoder(folder) as encoder, start_decoder(folder, encoder) as decoder:
        with Client(encoder) as encoder_client, Client(decoder) as decoder_client:
            yield encoder_client, decoder_client


def ask(client, turns, salt="", fresh=False, temperature=0.0):
    request = client.chat(turns)
    request.cache_salt = salt
    request.no_prefix_cache = fresh
    request.logprobs = 2
    request.sampling.temperature = temperature
    request.sampling.seed = 11
    started, text, finished = client.generate(request)
    assert finished.usage.cached_tokens == started.cached_tokens
    return started, text, finished


@pytest.mark.parametrize("temperature", (0.0, 1.0))
def test_a_second_turn_reads_what_is_new(services, temperature):
    _, decoder = services
    salt = f"turns {temperature}"
    turns = [("user", [PICTURE, "What is in this picture?"])]
    before = 0
    for question in ([SOUND, "Transcribe the audio."], ["And now?"], ["Thank you!"]):
        started, text, finished = ask(decoder, turns, salt, temperature=temperature)
        assert started.cached_tokens == before
        fresh_started, fresh_text, fresh_finished = ask(decoder, turns, fresh=True, temperature=temperature)
        assert fresh_started.cached_tokens == 0
        assert all(use.rows_cached == 0 for use in fresh_started.media)
        assert text == fresh_text
        assert finished.usage.completion_tokens == fresh_finished.usage.completion_tokens
        # All media but the newest turn's are there.
        known = len(started.media) - (1 if len(turns) == 3 else 0) if before else 0
        assert [use.rows_cached for use in started.media] == [
            use.header.rows if i < known else 0 for i, use in enumerate(started.media)
        ]
        before = started.prompt_tokens - EMPTY_THOUGHT
        turns += [("model", [text]), ("user", question)]


def test_another_salt_shares_nothing(services):
    _, decoder = services
    turns = [("user", [PICTURE, "What is in this picture, please?"])]
    assert ask(decoder, turns, "mine")[0].cached_tokens == 0
    assert ask(decoder, turns, "yours")[0].cached_tokens == 0
    assert ask(decoder, turns)[0].cached_tokens == 0
    started = ask(decoder, turns, "mine")[0]
    assert started.cached_tokens == started.prompt_tokens - 1


def test_rows_are_known_by_what_they_are_not_by_what_they_are_called(services):
    """A client that states another picture's digest is not given that picture's keys and values."""
    encoder, decoder = services
    mine = encoder.soft_tokens(audio=False, data=PICTURE)
    theirs = encoder.soft_tokens(audio=False, data=(DEMO / "samples/small.png").read_bytes())
    question = "What is in this picture of theirs?"
    text = ask(decoder, [("user", [theirs, question])], "forged")[1]
    mine.header.content_digest = theirs.header.content_digest
    started, forged, _ = ask(decoder, [("user", [mine, question])], "forged")
    assert started.media[0].rows_cached == 0
    assert forged == ask(decoder, [("user", [mine, question])], fresh=True)[1] != text


def test_a_turn_whose_media_are_cached_needs_no_encoder(tmp_path):
    turns = [("user", [PICTURE, SOUND, "What is in this picture?"])]
    with start_encoder(tmp_path) as encoder, start_decoder(tmp_path, encoder) as decoder, Client(decoder) as client:
        text = ask(client, turns)[1]
        encoder.stop()
        more = [*turns, ("model", [text]), ("user", ["And now?"])]
        started, answer, _ = ask(client, more)
        assert [use.rows_cached for use in started.media] == [use.header.rows for use in started.media]
        assert started.cached_tokens >= sum(use.header.rows for use in started.media)
        # What is not cached is asked for, and there is nobody.
        code = error(lambda: client.ask("First of all:", PICTURE))[0]
        assert code == "UNAVAILABLE"
    with start_encoder(tmp_path) as encoder, start_decoder(tmp_path, encoder) as decoder, Client(decoder) as client:
        assert ask(client, more)[1] == answer


def test_a_session_answers_as_the_whole_conversation(services):
    _, decoder = services
    session = decoder.method(DECODER, "CreateSession")(decoder.type("CreateSessionRequest")(cache_salt="session"))
    turns = []
    for parts in ([PICTURE, "What is in this picture?"], [SOUND, "Transcribe the audio."], ["Thank you!"]):
        turns.append(("user", parts))
        request = decoder.chat([turns[-1]])
        request.session_id = session.session_id
        started, text, _ = decoder.generate(request)
        assert text == ask(decoder, turns, fresh=True)[1]
        assert (started.cached_tokens > 0) == (len(turns) > 1)
        turns.append(("model", [text]))
    assert decoder.info(DECODER).load.sessions == 1
    decoder.method(DECODER, "DeleteSession")(decoder.type("DeleteSessionRequest")(session_id=session.session_id))
    assert error(lambda: decoder.start(request))[2] == "SESSION_EXPIRED"
