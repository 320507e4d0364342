"""A decoder that a test plays, message by message."""

import contextlib
import threading
from concurrent import futures

import grpc
import support
from support import decoder_grpc, decoder_pb2


def delta(text, channel=decoder_pb2.CHANNEL_ANSWER):
    return decoder_pb2.GenerateResponse(delta=decoder_pb2.Delta(channel=channel, text=text))


def finished(reason=decoder_pb2.FINISH_REASON_STOP):
    usage = decoder_pb2.Usage(prompt_tokens=7, completion_tokens=2)
    return decoder_pb2.GenerateResponse(finished=decoder_pb2.Finished(reason=reason, usage=usage))


STARTED = decoder_pb2.GenerateResponse(started=decoder_pb2.Started(prompt_tokens=7))


class FakeDecoder(decoder_grpc.DecoderServiceServicer):
    """Answers with what `script` gives for a request, and keeps the requests.

    Each word of a prompt counts as one token, TOKEN."""

    TOKEN = 5

    def __init__(self):
        self.requests = []
        self.script = lambda request, context: [STARTED, delta("Yes."), finished()]
        self.cancelled = threading.Event()
        self.sessions = None  # it offers none; or the ids of those that it has
        self.deleted = []
        self.endpoint = ""  # of its sessions
        self.routes = []  # what calls said to proxies, each in its turn

    def Generate(self, request, context):
        self.requests.append(request)
        self.note_route(context)
        if request.session_id and request.session_id not in self.sessions:
            refuse(context, grpc.StatusCode.NOT_FOUND, "SESSION_LOST")
        yield from self.script(request, context)

    def GetDecoderInfo(self, request, context):
        return decoder_pb2.GetDecoderInfoResponse(model_name="fake", context_length=8192)

    def CreateSession(self, request, context):
        self.note_route(context)
        if self.sessions is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "no sessions")
        session = f"session {len(self.sessions) + len(self.deleted)}"
        self.sessions.add(session)
        return decoder_pb2.CreateSessionResponse(session_id=session, endpoint=self.endpoint)

    def DeleteSession(self, request, context):
        self.note_route(context)
        self.sessions.discard(request.session_id)
        self.deleted.append(request.session_id)
        return decoder_pb2.DeleteSessionResponse()

    def CountTokens(self, request, context):
        (part,) = request.raw.parts
        ids = [self.TOKEN for _ in (part.text or part.text_with_special_tokens).split()]
        return decoder_pb2.CountTokensResponse(tokens=len(ids), token_ids=ids)

    def note_route(self, context):
        self.routes.append(dict(context.invocation_metadata()).get("x-softsplice-session"))

    def hang_after(self, *events):
        """Sends `events`, then nothing more until the client gives up."""

        def script(request, context):
            context.add_callback(self.cancelled.set)
            yield from events
            self.cancelled.wait(support.PATIENCE)

        self.script = script


@contextlib.contextmanager
def fake_decoder(folder=None):
    """A FakeDecoder that serves on a socket in `folder`, or on a port."""
    fake = FakeDecoder()
    server = grpc.server(
        futures.ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)]
    )
    decoder_grpc.add_DecoderServiceServicer_to_server(fake, server)
    fake.address = f"unix:{folder}/fake.sock" if folder else "localhost:0"
    port = server.add_insecure_port(fake.address)
    fake.address = fake.address if folder else f"localhost:{port}"
    server.start()
    yield fake
    server.stop(0).wait()


def refuse(context, code=grpc.StatusCode.RESOURCE_EXHAUSTED, reason="QUEUE_FULL"):
    details = support.status_pb2.Status(code=code.value[0])
    info = support.error_details_pb2.ErrorInfo(reason=reason)
    retry = support.error_details_pb2.RetryInfo()
    retry.retry_delay.seconds = 2
    request = support.error_details_pb2.BadRequest()
    request.field_violations.add(field="chat.messages[0]")
    for detail in (info, retry, request):
        details.details.add().Pack(detail)
    context.set_trailing_metadata([("grpc-status-details-bin", details.SerializeToString())])
    context.abort(code, "64 requests are waiting")
