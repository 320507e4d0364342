// TLS on a server's listener, with certificates that change while it runs.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "common/secrets/certificates.h"
#include "common/secrets/self_signed.h"

namespace softsplice {

// Each new connection gets what `files` say then; they have a certificate, and authorities always
// or never. With those, clients have to show a certificate of one of them, or `own`, with which the
// process itself calls. `files` outlive what is made, and that all connections. For one listener,
// whose connections come one at a time.
std::shared_ptr<grpc::ServerCredentials> MakeTlsServerCredentials(const Reread<TlsSet>& files,
                                                                  const KeyPair& own);

// For the process's own way through such a listener: shows `own`, and asks for nobody's name.
std::shared_ptr<grpc::ChannelCredentials> MakeOwnChannelCredentials(const KeyPair& own);

}  // namespace softsplice
