//! The mark of a journal that was put back from a copy: whoever goes on with it takes a new epoch.
//!
//! Behind the copy's end other messages may have been acknowledged, and somebody may have noted their numbers. Given a second time
//! in the same epoch, these would be taken for messages that are there already. So a restore leaves this file, and the next writer
//! begins an epoch that no other one of this journal has had. Two that go on with one copy must not meet in one epoch either, and
//! know nothing of each other: so it is later by a random number, and no clock is asked, which may stand anywhere. A ring that is still
//! in shared memory keeps nobody in the old epoch, whatever it holds: nothing in it says that nobody has gone on without it. What it
//! has of the old epoch is journaled in that first ([`crate::JournalOptions::epoch_later`]).

use std::path::Path;

use crate::birth;
use crate::error::{JournalError, io_error};
use crate::segment;
use crate::storage::{self, Access, Storage, is_absent, write_all_at};

const FILE_NAME: &str = "restored";
const CONTENT: &[u8] = b"put back from a copy: the next start takes a new epoch\n";
/// A header of the last number there is would not be one.
const EPOCH_MAX: u32 = u32::MAX - 1;
/// The part of the epochs left that one is later at most: of two that go on with one copy of a journal of epoch 1 one in thirty million
/// pairs meets, and a few hundred restores of restores leave some.
const EPOCHS_LEFT_PART: u32 = 64;

/// Marks the journal in the directory `path`, durably. Nothing else of it changes.
///
/// # Errors
/// What the operating system refuses.
pub fn mark_put_back(path: &Path) -> Result<(), JournalError> {
    mark_put_back_storage(&*storage::directory(path))
}

/// As [`mark_put_back`], in any storage.
///
/// # Errors
/// What the operating system refuses.
pub fn mark_put_back_storage(storage: &dyn Storage) -> Result<(), JournalError> {
    let path = storage.path(FILE_NAME);
    let file = storage::open_or_create(storage, FILE_NAME).map_err(io_error("open", &path))?;
    write_all_at(&*file, CONTENT, 0).map_err(io_error("write", &path))?;
    file.sync().map_err(io_error("sync", &path))?;
    storage.sync_directory().map_err(io_error("sync", &storage.path("")))
}

/// Whether the journal was put back and nobody has gone on with it since: by a restore, whose mark is the file's presence, whatever it
/// holds, or by hand, which the directory itself tells ([`crate::birth`]).
///
/// # Errors
/// What the operating system refuses.
pub fn is_put_back(storage: &dyn Storage) -> Result<bool, JournalError> {
    match storage.open_itself(FILE_NAME, Access::Read) {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => birth::is_copy(storage),
        Err(error) => Err(io_error("open", &storage.path(FILE_NAME))(error)),
    }
}

/// Removes the mark; the caller syncs the directory once what it has led to is durable.
pub(crate) fn unmark(storage: &dyn Storage) -> Result<(), JournalError> {
    match storage.remove(FILE_NAME) {
        Err(error) if !is_absent(&error) => Err(io_error("remove", &storage.path(FILE_NAME))(error)),
        _ => Ok(()),
    }
}

/// The epoch for who goes on with a journal of `epoch` that was put back.
///
/// # Errors
/// [`JournalError::Option`] when none is left; what the operating system refuses.
pub(crate) fn next_epoch(storage: &dyn Storage, epoch: u32) -> Result<u32, JournalError> {
    let random = u32::from_le_bytes(segment::random_bytes(storage)?);
    epoch_behind(epoch, random).ok_or_else(|| JournalError::Option {
        option: "epoch",
        value: epoch.to_string(),
        rule: "below the last one: so often was this journal put back from a copy; begin a new journal".into(),
    })
}

/// Later than `epoch` by a number drawn with `random`, and by more than cuts count on where enough are left; `None` when none is.
fn epoch_behind(epoch: u32, random: u32) -> Option<u32> {
    let left = EPOCH_MAX.checked_sub(epoch).filter(|&left| left > 0)?;
    let most = (left / EPOCHS_LEFT_PART).max(1);
    let least = most.div_ceil(2);
    Some(epoch + least + random % (most - least + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_later_than_the_one_before_and_hardly_ever_that_of_another_who_went_on() {
        let (first, last) = (epoch_behind(1, 0).unwrap(), epoch_behind(1, u32::MAX).unwrap());
        assert!(first > 1 + (1 << 24), "cuts count on by one: {first}");
        let met = (0..1000).map(|n| epoch_behind(1, n * 4_000_037).unwrap()).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(met.len(), 1000);
        assert!(met.iter().all(|epoch| (first..first + (1 << 25)).contains(epoch)), "{first} {last}");
        for (epoch, expected) in
            [(EPOCH_MAX - 2, Some(EPOCH_MAX - 1)), (EPOCH_MAX - 1, Some(EPOCH_MAX)), (EPOCH_MAX, None)]
        {
            assert_eq!(epoch_behind(epoch, 7), expected);
        }
        let mut epoch = 1;
        for restore in 0..300 {
            let next = epoch_behind(epoch, u32::MAX - restore).unwrap();
            assert!(next > epoch);
            epoch = next;
        }
        assert!(EPOCH_MAX - epoch > 1 << 25, "{epoch}");
    }
}
