//! What one checkpoint is, and its bytes: a key that sorts by subject and number, and a value of a head and the state.
//!
//! `docs/formats/checkpoints.md` has the table; a test pins sizes and offsets.

use tidebook_journal::BatchMark;

use crate::checkpoints::CheckpointError;

/// Longest channel and longest state id, so that a key fits into the 511 bytes that LMDB takes.
pub const NAME_MAX: usize = 200;
/// Bytes before the state.
pub(crate) const HEAD_SIZE: usize = 64;
const HEAD_CRC_AT: usize = 60;

/// A place in a channel: everything up to `sequence` in this epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Of the ring; on a durable channel it names the journal too.
    pub epoch: u64,
    /// Last message consumed; 0 is before the first.
    pub sequence: u64,
    /// The batch of the channel's journal that holds this message: what shows later that a journal is of the same history.
    /// `None` where there is no journal or no message, and in entries of version 1.
    pub batch: Option<BatchMark>,
}

impl Cursor {
    /// One that nothing shows to be of a journal.
    pub const fn without_journal(epoch: u64, sequence: u64) -> Self {
        Self { epoch, sequence, batch: None }
    }
}

/// Whose checkpoint it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectKind {
    /// A state that somebody keeps, with the cursor it is of.
    State,
    /// The cursor of a named consumer, stored by itself.
    Consumer,
}

impl SubjectKind {
    const fn byte(self) -> u8 {
        match self {
            Self::State => 0x10,
            Self::Consumer => 0x11,
        }
    }
}

/// What checkpoints are of: one state or one consumer of one channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// Of whom.
    pub kind: SubjectKind,
    /// Its channel.
    pub channel: String,
    /// Id of the state, or name of the consumer.
    pub name: String,
}

impl Subject {
    /// A state of this id.
    pub fn state(channel: impl Into<String>, state_id: impl Into<String>) -> Self {
        Self { kind: SubjectKind::State, channel: channel.into(), name: state_id.into() }
    }

    /// A consumer of this name.
    pub fn consumer(channel: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: SubjectKind::Consumer, channel: channel.into(), name: name.into() }
    }

    /// What all its keys begin with.
    pub(crate) fn prefix(&self) -> Result<Vec<u8>, CheckpointError> {
        let mut key = vec![self.kind.byte()];
        for (what, value) in [("channel", &self.channel), ("state_id", &self.name)] {
            if value.is_empty() || value.len() > NAME_MAX || value.contains('\0') {
                return Err(CheckpointError::Name { what, value: value.clone(), max: NAME_MAX });
            }
            key.extend_from_slice(value.as_bytes());
            key.push(0);
        }
        Ok(key)
    }
}

/// A checkpoint without its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number, given once in a store.
    pub id: u64,
    /// Of what.
    pub subject: Subject,
    /// Where.
    pub cursor: Cursor,
    /// When, in nanoseconds since 1970 UTC.
    pub created_ns: i64,
    /// Bytes of its state.
    pub state_size_bytes: u64,
}

/// A checkpoint that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedEntry {
    /// Its number; 0 where its key does not say one.
    pub id: u64,
    /// Of what; `None` where its key does not say it.
    pub subject: Option<Subject>,
    /// What shows it.
    pub reason: &'static str,
}

/// All that a store holds, without the states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// By kind, channel, name and number.
    pub whole: Vec<Listed>,
    /// In the order of their keys.
    pub damaged: Vec<DamagedEntry>,
}

/// A state and the cursor it is of, stored in one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// All but the state.
    pub listed: Listed,
    /// As it was given.
    pub state: Vec<u8>,
}

/// Key of one checkpoint: its subject's prefix, then its number, most significant byte first.
pub(crate) fn key(prefix: &[u8], id: u64) -> Vec<u8> {
    [prefix, &id.to_be_bytes()].concat()
}

/// The subject and number of a key; `None` for bytes that are no key of a checkpoint.
pub(crate) fn parse_key(key: &[u8]) -> Option<(Subject, u64)> {
    let (kind, rest) = key.split_first()?;
    let kind = [SubjectKind::State, SubjectKind::Consumer].into_iter().find(|known| known.byte() == *kind)?;
    let (names, id) = rest.split_last_chunk::<8>()?;
    let mut names = names.strip_suffix(&[0])?.splitn(2, |byte| *byte == 0);
    let mut name = || Some(std::str::from_utf8(names.next()?).ok()?.to_owned());
    let subject = Subject { kind, channel: name()?, name: name()? };
    subject.prefix().is_ok().then(|| (subject, u64::from_be_bytes(*id)))
}

/// The head of a value under this key.
pub(crate) fn head(key: &[u8], cursor: Cursor, created_ns: i64, state: &[u8]) -> [u8; HEAD_SIZE] {
    let mut head = [0; HEAD_SIZE];
    head[0..8].copy_from_slice(&cursor.epoch.to_le_bytes());
    head[8..16].copy_from_slice(&cursor.sequence.to_le_bytes());
    head[16..24].copy_from_slice(&created_ns.to_le_bytes());
    head[24..32].copy_from_slice(&(state.len() as u64).to_le_bytes());
    head[32..36].copy_from_slice(&crc_fast::crc32_iscsi(state).to_le_bytes());
    if let Some(batch) = cursor.batch {
        head[36..40].copy_from_slice(&batch.chain.to_le_bytes());
        head[40..48].copy_from_slice(&batch.number.to_le_bytes());
    }
    let crc = head_crc(key, &head);
    head[HEAD_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    head
}

fn head_crc(key: &[u8], head: &[u8; HEAD_SIZE]) -> u32 {
    crc_fast::crc32_iscsi(&[key, &head[..HEAD_CRC_AT]].concat())
}

/// Head and state of a value, the head verified against its key, the state not; else what is wrong with it.
pub(crate) fn parse<'a>(key: &[u8], value: &'a [u8]) -> Result<(Listed, &'a [u8]), (u64, &'static str)> {
    let (subject, id) = parse_key(key).ok_or((0, "key"))?;
    let (head, state) = value.split_first_chunk::<HEAD_SIZE>().ok_or((id, "size"))?;
    let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
    if head[HEAD_CRC_AT..] != head_crc(key, head).to_le_bytes() {
        return Err((id, "checksum of its head"));
    }
    if word(24) != state.len() as u64 {
        return Err((id, "size of its state"));
    }
    let chain = u32::from_le_bytes(head[36..40].try_into().expect("4 bytes"));
    let batch = Some(BatchMark { number: word(40), chain }).filter(|batch| batch.number > 0);
    let cursor = Cursor { epoch: word(0), sequence: word(8), batch };
    let created_ns = word(16).cast_signed();
    Ok((Listed { id, subject, cursor, created_ns, state_size_bytes: state.len() as u64 }, state))
}

/// The whole checkpoint, everything verified.
pub(crate) fn read(key: &[u8], value: &[u8]) -> Result<Checkpoint, (u64, &'static str)> {
    let (listed, state) = parse(key, value)?;
    if value[32..36] != crc_fast::crc32_iscsi(state).to_le_bytes() {
        return Err((listed.id, "checksum of its state"));
    }
    Ok(Checkpoint { listed, state: state.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_where_the_page_of_the_format_says() {
        let prefix = Subject::state("orders", "risk").prefix().expect("names that are keys");
        let key = key(&prefix, 0x0102);
        assert_eq!(key, b"\x10orders\0risk\0\0\0\0\0\0\0\x01\x02");
        let batch = Some(BatchMark { number: 5, chain: 0x0403_0201 });
        let head = head(&key, Cursor { epoch: 7, sequence: 9, batch }, -1, b"abc");
        assert_eq!(head[..16], [7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(head[16..24], [0xff; 8]);
        assert_eq!(head[24..32], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(head[32..36], crc_fast::crc32_iscsi(b"abc").to_le_bytes());
        assert_eq!(head[36..48], [1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(head[48..60], [0; 12]);
        let value = [&head[..], b"abc"].concat();
        let found = read(&key, &value).expect("whole");
        assert_eq!((found.listed.id, &found.state[..]), (0x0102, &b"abc"[..]));
        assert_eq!(found.listed.subject, Subject::state("orders", "risk"));
        assert_eq!(found.listed.cursor, Cursor { epoch: 7, sequence: 9, batch });
    }

    #[test]
    fn an_entry_of_version_1_has_no_batch() {
        let key = key(&Subject::state("orders", "risk").prefix().expect("names that are keys"), 1);
        let cursor = Cursor::without_journal(7, 9);
        let head = head(&key, cursor, -1, b"abc");
        assert_eq!(head[36..60], [0; 24]);
        let found = read(&key, &[&head[..], b"abc"].concat()).expect("whole");
        assert_eq!(found.listed.cursor, cursor);
    }

    #[test]
    fn a_flipped_bit_of_a_key_or_value_is_found() {
        let key = key(&Subject::consumer("c", "n").prefix().expect("names that are keys"), 1);
        let value = [&head(&key, Cursor::without_journal(1, 2), 3, b"state")[..], b"state"].concat();
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&key, &damaged).is_err(), "bit {bit} of the value");
        }
        for bit in 0..key.len() * 8 {
            let mut damaged = key.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&damaged, &value).is_err(), "bit {bit} of the key");
        }
    }
}
