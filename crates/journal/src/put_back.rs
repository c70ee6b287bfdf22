//! The mark of a journal that was put back from a copy: whoever goes on with it takes a new epoch.
//!
//! Behind the copy's end other messages may have been acknowledged, and somebody may have noted their numbers. Given a second time
//! in the same epoch, these would be taken for messages that are there already. So a restore leaves this file, and the next writer
//! begins an epoch that no other one of this journal has had: at least one more, and the seconds of its clock since 2020, as two
//! restores of one copy must not meet in one epoch either. Only who has all that was acknowledged, a ring of this epoch that is
//! still in shared memory, goes on in the old one.

use std::path::Path;

use crate::birth;
use crate::error::{JournalError, io_error};
use crate::storage::{self, Access, Storage, is_absent, write_all_at};

const FILE_NAME: &str = "restored";
const CONTENT: &[u8] = b"put back from a copy: the next start takes a new epoch\n";
/// 2020-01-01T00:00:00Z, in seconds since 1970: an epoch has 32 bits, which last from here until 2156.
const EPOCHS_FROM_S: i64 = 1_577_836_800;

/// Marks the journal in the directory `path`, durably. Nothing else of it changes.
///
/// # Errors
/// What the operating system refuses.
pub fn mark_put_back(path: &Path) -> Result<(), JournalError> {
    mark(&*storage::directory(path))
}

pub(crate) fn mark(storage: &dyn Storage) -> Result<(), JournalError> {
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
    match storage.open(FILE_NAME, Access::Read) {
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

/// The epoch after `epoch` for who goes on with a journal that was put back, at `now_ns` since 1970.
pub(crate) fn epoch_behind(epoch: u32, now_ns: i64) -> u32 {
    // A header of the last epoch there is would not be one.
    let by_clock = (now_ns / 1_000_000_000 - EPOCHS_FROM_S).clamp(0, i64::from(u32::MAX) - 1);
    (epoch + 1).max(u32::try_from(by_clock).expect("clamped to it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_later_than_the_one_before_whatever_the_clock_says() {
        let second = |s: i64| s * 1_000_000_000;
        assert_eq!(epoch_behind(1, second(EPOCHS_FROM_S + 86_400)), 86_400);
        assert_eq!(epoch_behind(90_000, second(EPOCHS_FROM_S + 86_400)), 90_001);
        assert_eq!(epoch_behind(1, 0), 2);
        assert_eq!(epoch_behind(1, i64::MIN), 2);
        assert_eq!(epoch_behind(1, i64::MAX), u32::MAX - 1);
    }
}
