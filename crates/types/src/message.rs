//! One message of `feed.<venue>`: what a venue sent, or what happened to its connection, with our receive time.
//!
//! The payload of a ring frame or journal record is a 16-byte header, a context text and the bytes exactly as
//! received. The context says what a body cannot: the request target of a REST answer (Binance's depth snapshot
//! does not name its symbol). Byte table: `docs/formats/journal.md`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What kind of input a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MessageKind {
    /// A WebSocket frame; context empty.
    Ws = 1,
    /// A REST answer's body; context is the request target (`/api/v3/depth?symbol=BTCUSDT&limit=1000`).
    Rest = 2,
    /// A change of the connection or capture itself, as a JSON object with the key `event`.
    State = 3,
    /// The clock of the feed; body empty. Bars close by it, live and in replay alike.
    Timer = 4,
}

impl MessageKind {
    /// The kind with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Ws),
            2 => Some(Self::Rest),
            3 => Some(Self::State),
            4 => Some(Self::Timer),
            _ => None,
        }
    }
}

/// Fixed head of the payload, little endian.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Head {
    ts_recv: i64,
    connection: u32,
    kind: u8,
    reserved: u8,
    context_size_bytes: u16,
}

/// Bytes of the fixed head.
pub const HEAD_SIZE_BYTES: usize = size_of::<Head>();

/// A message borrowed from the buffer it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawMessage<'a> {
    /// Our clock when the last byte arrived, ns since 1970 UTC.
    pub ts_recv: i64,
    /// Which connection of the feed; a new session gets a new number.
    pub connection: u32,
    /// What `body` is.
    pub kind: MessageKind,
    /// See [`MessageKind`].
    pub context: &'a [u8],
    /// Verbatim bytes.
    pub body: &'a [u8],
}

/// Why a payload is no raw message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RawMessageError {
    /// Shorter than its head or the context the head announces.
    #[error("raw message of {found} bytes where at least {expected} are announced")]
    Short {
        /// Bytes announced.
        expected: usize,
        /// Bytes there.
        found: usize,
    },
    /// A kind of a later version.
    #[error("raw message of unknown kind {found}; a newer version wrote it")]
    Kind {
        /// The number found.
        found: u8,
    },
}

impl<'a> RawMessage<'a> {
    /// The message a payload holds.
    ///
    /// # Errors
    /// [`RawMessageError`] when lengths do not add up or the kind is unknown.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Result<Self, RawMessageError> {
        let short = |expected| RawMessageError::Short { expected, found: payload.len() };
        let (head, rest) = Head::read_from_prefix(payload).map_err(|_| short(HEAD_SIZE_BYTES))?;
        let context_size = usize::from(head.context_size_bytes);
        let (context, body) =
            rest.split_at_checked(context_size).ok_or_else(|| short(HEAD_SIZE_BYTES + context_size))?;
        let kind = MessageKind::from_code(head.kind).ok_or(RawMessageError::Kind { found: head.kind })?;
        Ok(Self { ts_recv: head.ts_recv, connection: head.connection, kind, context, body })
    }

    /// Bytes [`Self::write_to`] appends.
    pub const fn size_bytes(&self) -> usize {
        HEAD_SIZE_BYTES + self.context.len() + self.body.len()
    }

    /// Appends the payload to `out`.
    ///
    /// # Panics
    /// When the context exceeds 65,535 bytes: a request target of that size is a mistake of the caller.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let head = Head {
            ts_recv: self.ts_recv,
            connection: self.connection,
            kind: self.kind as u8,
            reserved: 0,
            context_size_bytes: u16::try_from(self.context.len()).expect("context of a raw message fits 65,535 bytes"),
        };
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(self.context);
        out.extend_from_slice(self.body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_read_back_is_the_message_written() {
        let message = RawMessage {
            ts_recv: 1_723_161_253_937_085_768,
            connection: 7,
            kind: MessageKind::Rest,
            context: b"/api/v3/depth?symbol=BTCUSDT",
            body: b"{}",
        };
        let mut payload = Vec::new();
        message.write_to(&mut payload);
        assert_eq!(payload.len(), message.size_bytes());
        assert_eq!(RawMessage::parse(&payload), Ok(message));
    }

    #[test]
    fn a_cut_payload_is_an_error_at_each_length_before_its_body() {
        let message = RawMessage { ts_recv: 1, connection: 0, kind: MessageKind::Ws, context: b"abc", body: b"" };
        let mut payload = Vec::new();
        message.write_to(&mut payload);
        for size in 0..payload.len() {
            assert!(RawMessage::parse(&payload[..size]).is_err(), "{size}");
        }
        payload[12] = 9;
        assert_eq!(RawMessage::parse(&payload), Err(RawMessageError::Kind { found: 9 }));
    }
}
