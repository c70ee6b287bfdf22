//! Many payloads in one buffer: what a recording, a journal or a connector hands over at once.
//!
//! One allocation for all instead of one each; cleared and filled again, it allocates nothing.

use crate::message::RawMessage;

/// Payloads one after another, each a message's bytes as [`RawMessage::write_to`] lays them out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payloads {
    bytes: Vec<u8>,
    /// End of each payload in `bytes`; the next begins there.
    ends: Vec<usize>,
}

impl Payloads {
    /// None yet.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), ends: Vec::new() }
    }

    /// Appends a message.
    pub fn push(&mut self, message: &RawMessage<'_>) {
        message.write_to(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Appends a payload that is already laid out.
    pub fn push_bytes(&mut self, payload: &[u8]) {
        self.bytes.extend_from_slice(payload);
        self.ends.push(self.bytes.len());
    }

    /// The payload at `index` from 0.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(&self.bytes[start..end])
    }

    /// Payloads in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.ends.len()).map(|index| self.get(index).expect("index below the count"))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all payloads together.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets all, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MessageKind;

    #[test]
    fn payloads_come_back_in_order_and_whole() {
        let mut payloads = Payloads::new();
        let message = RawMessage { ts_recv: 5, connection: 1, kind: MessageKind::Ws, context: b"", body: b"{}" };
        payloads.push(&message);
        payloads.push_bytes(b"");
        payloads.push_bytes(b"abc");
        assert_eq!(RawMessage::parse(payloads.get(0).unwrap()), Ok(message));
        assert_eq!(payloads.iter().skip(1).collect::<Vec<_>>(), [b"".as_slice(), b"abc"]);
        assert_eq!((payloads.len(), payloads.get(3)), (3, None));
        payloads.clear();
        assert!(payloads.is_empty());
    }
}
