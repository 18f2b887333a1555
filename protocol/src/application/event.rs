//! What a web server says, as the application side of a connection tells it.

use std::borrow::Cow;

#[cfg(doc)]
use super::Limits;
use crate::encode::Role;

/// What a web server sent. Pieces of streams are never empty, come in order and may be cut anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A request begins (section 5.1).
    Begin {
        /// The request.
        id: u16,
        /// What the application shall be.
        role: Role,
        /// The connection shall stay open after the answer.
        keep_conn: bool,
    },
    /// A piece of the parameters (section 5.2). Pairs may be cut: put all pieces together, then read them with [`crate::name_value::Pairs`].
    Params {
        /// The request.
        id: u16,
        /// The piece.
        bytes: &'a [u8],
    },
    /// The parameters are complete.
    ParamsEnd {
        /// The request.
        id: u16,
    },
    /// A piece of the body (section 5.3).
    Stdin {
        /// The request.
        id: u16,
        /// The piece.
        bytes: &'a [u8],
    },
    /// The body is complete.
    StdinEnd {
        /// The request.
        id: u16,
    },
    /// A piece of the file for a filter (section 5.3); no other role gets one.
    Data {
        /// The request.
        id: u16,
        /// The piece.
        bytes: &'a [u8],
    },
    /// The file for a filter is complete.
    DataEnd {
        /// The request.
        id: u16,
    },
    /// The web server does not want the answer any more (section 5.4): end the request soon, with END_REQUEST. Said at most once; nothing
    /// else follows for the request.
    Abort {
        /// The request.
        id: u16,
    },
    /// The parameters pass [`Limits::params`]. Answer it (431); nothing else follows for the request but, perhaps, `Abort`.
    ParamsTooLong {
        /// The request.
        id: u16,
    },
    /// STDIN or DATA came before the end of PARAMS. Answer it (400); nothing else follows for the request but, perhaps, `Abort`.
    ParamsUnfinished {
        /// The request.
        id: u16,
    },
    /// The role is none that there is: answer END_REQUEST with UNKNOWN_ROLE (section 5.5), then say `finished`. Nothing else follows
    /// for the request, which is not active.
    UnknownRole {
        /// The request.
        id: u16,
    },
    /// One request more than [`Limits::requests`]: answer END_REQUEST with CANT_MPX_CONN (section 5.5), then say `finished`.
    /// Nothing else follows for the request, which is not active.
    TooManyRequests {
        /// The request.
        id: u16,
    },
    /// GET_VALUES (section 4.1): answer GET_VALUES_RESULT with those of the names that are known.
    GetValues {
        /// The complete body, to be read with [`crate::name_value::Pairs`]. Borrowed unless a read has cut it; empty if it was longer than 4 KiB.
        pairs: Cow<'a, [u8]>,
    },
    /// A management record of a type that is not known: answer UNKNOWN_TYPE (section 4.2).
    UnknownType {
        /// The type.
        kind: u8,
    },
}
