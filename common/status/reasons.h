// The catalogue of reasons: what the ErrorInfo of every error says. Names are part of the contract:
// clients switch on them. README.md lists this table, and tests compare the two.
#pragma once

#include "absl/status/status.h"

namespace softsplice::reason {

// The request is at fault.
inline constexpr char kInvalidField[] = "INVALID_FIELD";
inline constexpr char kInvalidMedia[] = "INVALID_MEDIA";
inline constexpr char kMalformedRequest[] = "MALFORMED_REQUEST";
inline constexpr char kCompressedRequest[] = "COMPRESSED_REQUEST";
inline constexpr char kOverLimit[] = "OVER_LIMIT";
inline constexpr char kPromptTooLong[] = "PROMPT_TOO_LONG";
inline constexpr char kNotFinite[] = "NOT_FINITE";
inline constexpr char kBadChecksum[] = "BAD_CHECKSUM";
inline constexpr char kForeignSoftTokens[] = "FOREIGN_SOFT_TOKENS";
inline constexpr char kMissingToken[] = "MISSING_TOKEN";
inline constexpr char kNotSupported[] = "NOT_SUPPORTED";
inline constexpr char kNoEncoder[] = "NO_ENCODER";
inline constexpr char kNoTower[] = "NO_TOWER";
inline constexpr char kSessionExpired[] = "SESSION_EXPIRED";
inline constexpr char kSessionLost[] = "SESSION_LOST";
inline constexpr char kSessionElsewhere[] = "SESSION_ELSEWHERE";

// The caller is at fault.
inline constexpr char kUnauthenticated[] = "UNAUTHENTICATED";

// Its time is over.
inline constexpr char kCancelled[] = "CANCELLED";
inline constexpr char kDeadlineExceeded[] = "DEADLINE_EXCEEDED";
inline constexpr char kClientTooSlow[] = "CLIENT_TOO_SLOW";

// The same request may succeed later or elsewhere.
inline constexpr char kServerBusy[] = "SERVER_BUSY";
inline constexpr char kQueueFull[] = "QUEUE_FULL";
inline constexpr char kSessionBusy[] = "SESSION_BUSY";
inline constexpr char kSessionsFull[] = "SESSIONS_FULL";
inline constexpr char kDraining[] = "DRAINING";
inline constexpr char kDrainDeadline[] = "DRAIN_DEADLINE";
inline constexpr char kEncoderUnavailable[] = "ENCODER_UNAVAILABLE";
inline constexpr char kEncoderTooSlow[] = "ENCODER_TOO_SLOW";
inline constexpr char kNoEncoderKnown[] = "NO_ENCODER_KNOWN";
inline constexpr char kRankFailed[] = "RANK_FAILED";

// A service is at fault.
inline constexpr char kForeignEncoder[] = "FOREIGN_ENCODER";
inline constexpr char kBadEncoderAnswer[] = "BAD_ENCODER_ANSWER";
inline constexpr char kEncoderFailed[] = "ENCODER_FAILED";
inline constexpr char kModelNotFinite[] = "MODEL_NOT_FINITE";
inline constexpr char kNoTokenLeft[] = "NO_TOKEN_LEFT";
inline constexpr char kOutOfMemory[] = "OUT_OF_MEMORY";
inline constexpr char kDeviceError[] = "DEVICE_ERROR";
inline constexpr char kInternal[] = "INTERNAL";

// At start: told on stderr, never to a client.
inline constexpr char kInvalidFile[] = "INVALID_FILE";
inline constexpr char kFileUnreadable[] = "FILE_UNREADABLE";
inline constexpr char kFileChanged[] = "FILE_CHANGED";
inline constexpr char kUnfitDevice[] = "UNFIT_DEVICE";

// Whether the same request may be sent again.
enum class Retry { kNever, kLater };

struct Reason {
  const char* name;
  absl::StatusCode code;  // that goes with it, always
  Retry retry;            // kLater: RetryInfo and grpc-retry-pushback-ms say when
  const char* meaning;
};

// All that a client may see.
inline constexpr Reason kReasons[] = {
    {kInvalidField, absl::StatusCode::kInvalidArgument, Retry::kNever,
     "a field's value is not allowed"},
    {kInvalidMedia, absl::StatusCode::kInvalidArgument, Retry::kNever,
     "a picture, sound or video can't be read"},
    {kMalformedRequest, absl::StatusCode::kInvalidArgument, Retry::kNever,
     "the message is not what the contract says"},
    {kCompressedRequest, absl::StatusCode::kUnimplemented, Retry::kNever,
     "the message is compressed; send it as it is"},
    {kOverLimit, absl::StatusCode::kResourceExhausted, Retry::kNever,
     "larger than a limit of the service"},
    {kPromptTooLong, absl::StatusCode::kOutOfRange, Retry::kNever,
     "the prompt is longer than the context"},
    {kNotFinite, absl::StatusCode::kInvalidArgument, Retry::kNever,
     "soft tokens hold infinities or NaNs"},
    {kBadChecksum, absl::StatusCode::kInvalidArgument, Retry::kNever,
     "soft tokens were damaged on their way"},
    {kForeignSoftTokens, absl::StatusCode::kFailedPrecondition, Retry::kNever,
     "soft tokens of another model's encoder"},
    {kMissingToken, absl::StatusCode::kFailedPrecondition, Retry::kNever,
     "the model's vocabulary lacks a token that this request needs"},
    {kNotSupported, absl::StatusCode::kUnimplemented, Retry::kNever,
     "in the contract, not served by this version"},
    {kNoEncoder, absl::StatusCode::kFailedPrecondition, Retry::kNever,
     "this decoder was started without an encoder"},
    {kNoTower, absl::StatusCode::kFailedPrecondition, Retry::kNever,
     "the encoder's file has no tower for such media"},
    {kSessionExpired, absl::StatusCode::kNotFound, Retry::kNever,
     "there is no such session, or not any more; send the whole conversation"},
    {kSessionLost, absl::StatusCode::kNotFound, Retry::kNever,
     "the session's decoder was started anew; send the whole conversation"},
    {kSessionElsewhere, absl::StatusCode::kNotFound, Retry::kNever,
     "the session lives in another decoder: in the one at `endpoint`, if the metadata name one"},
    {kUnauthenticated, absl::StatusCode::kUnauthenticated, Retry::kNever,
     "the service wants a token, or a name in the client's certificate, and knows none that came"},
    {kCancelled, absl::StatusCode::kCancelled, Retry::kNever, "the client is gone"},
    {kDeadlineExceeded, absl::StatusCode::kDeadlineExceeded, Retry::kNever,
     "the caller's deadline has passed, or the service's own for a call"},
    {kClientTooSlow, absl::StatusCode::kResourceExhausted, Retry::kNever,
     "the client did not send, or read, for too long"},
    {kServerBusy, absl::StatusCode::kResourceExhausted, Retry::kLater,
     "too many calls or bytes are in the service"},
    {kQueueFull, absl::StatusCode::kResourceExhausted, Retry::kLater,
     "too many requests wait, or the wait would be too long"},
    {kSessionBusy, absl::StatusCode::kAborted, Retry::kLater, "another request is in the session"},
    {kSessionsFull, absl::StatusCode::kResourceExhausted, Retry::kLater,
     "there are too many sessions, or what they hold is too much"},
    {kDraining, absl::StatusCode::kUnavailable, Retry::kLater,
     "the service is stopping and takes nothing new"},
    {kDrainDeadline, absl::StatusCode::kUnavailable, Retry::kLater,
     "the service stopped before the answer was complete"},
    {kEncoderUnavailable, absl::StatusCode::kUnavailable, Retry::kLater, "no encoder answers"},
    {kEncoderTooSlow, absl::StatusCode::kUnavailable, Retry::kLater,
     "encoding took longer than the decoder allows"},
    {kNoEncoderKnown, absl::StatusCode::kUnavailable, Retry::kLater,
     "no encoder has answered yet, so soft tokens can't be compared with theirs"},
    {kRankFailed, absl::StatusCode::kUnavailable, Retry::kLater,
     "one of the devices that share the model out failed or hangs, and the service ends"},
    {kForeignEncoder, absl::StatusCode::kFailedPrecondition, Retry::kNever,
     "the encoders are of another model than the decoder"},
    {kBadEncoderAnswer, absl::StatusCode::kInternal, Retry::kNever,
     "an encoder's answer was broken"},
    {kEncoderFailed, absl::StatusCode::kInternal, Retry::kNever, "an encoder failed"},
    {kModelNotFinite, absl::StatusCode::kInternal, Retry::kNever,
     "the model gave infinities or NaNs"},
    {kNoTokenLeft, absl::StatusCode::kInternal, Retry::kNever, "no token was left to choose from"},
    {kOutOfMemory, absl::StatusCode::kResourceExhausted, Retry::kLater, "memory is short"},
    {kDeviceError, absl::StatusCode::kInternal, Retry::kNever, "the device failed"},
    {kInternal, absl::StatusCode::kInternal, Retry::kNever, "a bug of ours"},
};

}  // namespace softsplice::reason
