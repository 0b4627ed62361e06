//! What becomes of a connection when an answer is complete, and why one is closed.
//!
//! Only the words live here; `state` decides.

use std::fmt;

/// What to do with the connection after a complete answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Both sides are done with the exchange: the next request may be received.
    Reuse,
    /// A modest rest of the request body is worth reading so that the connection can be kept: call
    /// [`receive`](super::Http1::receive) and drop what comes until [`End`](super::Received::End), then ask again.
    /// A refusal meanwhile means that the rest was not modest after all: close.
    Discard,
    /// Nothing more is received. Send what is left of the output, then close.
    Close(CloseReason),
}

/// Why a connection is not used for another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said `Connection: close`, or speaks HTTP/1.0 and did not ask to keep the connection.
    ClientAsked,
    /// The server wants no further request: draining, or `max_keep_alive_requests` is reached.
    ServerAsked,
    /// The request was refused.
    Refused,
    /// To an HTTP/1.0 client the end of an answer of unknown length is the end of the connection.
    AnswerUntilClose,
    /// The answer cannot be finished as its head promised; closing tells the client so.
    AnswerBroken,
    /// More of the request body is outstanding than is worth reading.
    BodyUnread,
    /// The client waited for "100 Continue" and did not get it: whether it sends the body is its choice, so nobody
    /// can tell what the next byte means (RFC 9110 section 10.1.1).
    BodyNotAskedFor,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientAsked => "the client asked for it",
            Self::ServerAsked => "the server takes no further request on this connection",
            Self::Refused => "the request was refused",
            Self::AnswerUntilClose => "the answer ends with the connection",
            Self::AnswerBroken => "the answer broke off",
            Self::BodyUnread => "the request body was not read",
            Self::BodyNotAskedFor => "the request body was not asked for",
        })
    }
}
