"""Certificates and tokens for tests, and clients that have them."""

import hashlib
import secrets

import grpc
import trustme


class Access:
    """What a client trusts (an Authority), and shows: a token, a trustme certificate.

    `name`: that the server's certificate has to have."""

    def __init__(self, authority=None, token=None, certificate=None, name="localhost"):
        self.authority, self.token, self.certificate, self.name = (
            authority,
            token,
            certificate,
            name,
        )

    def channel(self, address):
        if self.authority is None:
            channel = grpc.insecure_channel(address)
            return channel if self.token is None else grpc.intercept_channel(channel, Bearer(self))
        key, chain = None, None
        if self.certificate is not None:
            key, chain = key_of(self.certificate), chain_of(self.certificate)
        credentials = grpc.ssl_channel_credentials(self.authority.pem(), key, chain)
        if self.token is not None:
            token = grpc.access_token_call_credentials(self.token)
            credentials = grpc.composite_channel_credentials(credentials, token)
        options = [("grpc.ssl_target_name_override", self.name)]
        return grpc.secure_channel(address, credentials, options)


class Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Shows a token over a plain connection, where grpc's own credentials do not."""

    def __init__(self, access):
        self.header = ("authorization", f"Bearer {access.token}")

    def add(self, go_on, details, request):
        changed = details._replace(metadata=[*(details.metadata or []), self.header])
        return go_on(changed, request)

    intercept_unary_unary = add
    intercept_unary_stream = add
    intercept_stream_stream = add


class Authority:
    """A certificate authority."""

    def __init__(self):
        self.ca = trustme.CA()

    def pem(self):
        return self.ca.cert_pem.bytes()

    def issue(self, *names, **times):
        return self.ca.issue_cert(*(names or ("localhost",)), **times)


def chain_of(certificate):
    return b"".join(blob.bytes() for blob in certificate.cert_chain_pems)


def key_of(certificate):
    return certificate.private_key_pem.bytes()


class Files:
    """A folder with tls.crt, tls.key and ca.crt that changes as Kubernetes changes a mounted Secret: all at once,
    by a link to another folder."""

    def __init__(self, folder, certificate=None, authority=None):
        self.folder, self.versions = folder, 0
        folder.mkdir()
        self.put(certificate, authority)

    def put(self, certificate=None, authority=None):
        texts = {}
        if certificate is not None:
            texts |= {"tls.crt": chain_of(certificate), "tls.key": key_of(certificate)}
        if authority is not None:
            texts["ca.crt"] = authority if isinstance(authority, bytes) else authority.pem()
        self.put_texts(texts)

    def put_texts(self, texts):
        self.versions += 1
        version = self.folder / f"..{self.versions}"
        version.mkdir()
        for name, text in texts.items():
            (version / name).write_bytes(text)
            link = self.folder / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        new = self.folder / "..new"
        new.symlink_to(version.name)
        new.rename(self.folder / "..data")

    def path(self, name):
        return self.folder / name

    def server(self, clients=False):
        """The flags of a service with these files; `clients`: have to show certificates of ca.crt."""
        flags = ["--tls-cert", self.path("tls.crt"), "--tls-key", self.path("tls.key")]
        return flags + (["--tls-client-ca", self.path("ca.crt")] if clients else [])

    def decoder(self, certificate=False):
        """The flags of a decoder that trusts ca.crt, and may show tls.crt."""
        flags = ["--encoder-tls-ca", self.path("ca.crt")]
        pair = ["--encoder-tls-cert", self.path("tls.crt"), "--encoder-tls-key"]
        return flags + ([*pair, self.path("tls.key")] if certificate else [])


def encrypted(folder):
    """Flags of an encoder and of a decoder that speak TLS alone, and what their clients trust."""
    authority = Authority()
    files = Files(folder / "tls", authority.issue(), authority)
    trust = [*files.decoder(), "--encoder-tls-name", "localhost"]
    return files.server(), [*files.server(), *trust], Access(authority)


class TokenList:
    """A file of those who may call."""

    def __init__(self, path, *names):
        self.path, self.tokens = path, {name: secrets.token_urlsafe(32) for name in names}
        self.write()

    def __getitem__(self, name):
        return self.tokens[name]

    def write(self):
        lines = [
            f"{name} {hashlib.sha256(token.encode()).hexdigest()}\n"
            for name, token in self.tokens.items()
        ]
        self.path.write_text("# names and tokens\n" + "".join(lines))

    def add(self, name):
        self.tokens[name] = secrets.token_urlsafe(32)
        self.write()

    def remove(self, name):
        token = self.tokens.pop(name)
        self.write()
        return token
