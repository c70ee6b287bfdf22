//! Who may have a ring: its user alone, a group if it was made for one, anybody only where that is said.
//!
//! A ring is memory that whoever can write it can put anything into, and a directory that others can write is one in
//! which they can put another file under the ring's name. So both are looked at before a ring is opened or made, and
//! the directories above them too, up to the root or to one whose sticky bit keeps names to their owners (`/dev/shm`,
//! `/tmp`). What is refused is refused with the path that is wrong and what to do.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, chown, fchown};

use crate::error::RingError;
use crate::mapping::io_error;

const GROUP_WRITES: u32 = 0o020;
const GROUP_ENTERS: u32 = 0o010;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Who besides its user may have a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Nobody: 0600 in 0700. One of another user, or that others can write, is refused.
    #[default]
    Private,
    /// The members of this group (its number): 0660 in 0770. One of any of them is taken.
    Group(u32),
    /// What is there is taken as it is, whoever can write it. Made with 0600 all the same.
    Anyone,
}

impl Access {
    /// Mode of a ring's file.
    pub(crate) const fn file_mode(self) -> u32 {
        match self {
            Self::Group(_) => 0o660,
            Self::Private | Self::Anyone => 0o600,
        }
    }

    /// Makes the directory of rings if it is not there, and refuses one that is not as private as this says. Gives where
    /// it really is.
    pub(crate) fn make_directory(self, directory: &Path) -> Result<PathBuf, RingError> {
        self.make(directory, true)?;
        self.check_directory(directory)
    }

    fn make(self, directory: &Path, is_last: bool) -> Result<(), RingError> {
        let fail = io_error("make directory", directory);
        let made = fs::DirBuilder::new().mode(0o700).create(directory);
        match made {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let Some(above) = directory.parent() else { return Err(fail(error)) };
                self.make(above, false)?;
                return self.make(directory, is_last);
            }
            Err(error) => return Err(fail(error)),
        }
        if let Self::Group(group) = self {
            // Members go through the directories above and write in the last only.
            let mode = if is_last { 0o770 } else { 0o750 };
            chown(directory, None, Some(Gid::from_raw(group)))
                .map_err(|error| not_of_group(directory, group, error))?;
            fs::set_permissions(directory, fs::Permissions::from_mode(mode)).map_err(fail)?;
        }
        Ok(())
    }

    /// Gives a new ring's file, which has no name yet, to those who may have it.
    pub(crate) fn hand_over(self, file: &File, path: &Path) -> Result<(), RingError> {
        if let Self::Group(group) = self {
            fchown(file, None, Some(Gid::from_raw(group))).map_err(|error| not_of_group(path, group, error))?;
            // The mode given at creation was cut by the umask.
            file.set_permissions(fs::Permissions::from_mode(self.file_mode())).map_err(io_error("share", path))?;
        }
        Ok(())
    }

    /// Refuses a directory in which somebody else could put another ring under a name of ours. Gives where it really is.
    pub(crate) fn check_directory(self, directory: &Path) -> Result<PathBuf, RingError> {
        let real = fs::canonicalize(directory).map_err(io_error("examine", directory))?;
        if self == Self::Anyone {
            return Ok(real);
        }
        let examine = |path: &Path| fs::metadata(path).map_err(io_error("examine", path));
        let found = examine(&real)?;
        self.check(&found).map_err(|reason| refused("directory", &real, reason))?;
        if let Self::Group(group) = self
            && (found.gid() != group || found.mode() & GROUP_ENTERS == 0)
        {
            let reason = format!("is not open to group {group} (it has mode {:04o})", found.mode() & 0o7777);
            return Err(refused("directory", &real, reason));
        }
        let mut strangers: Option<(PathBuf, String)> = None;
        for above in real.ancestors().skip(1) {
            let found = examine(above)?;
            let is_sticky = found.mode() & STICKY != 0;
            if found.mode() & (GROUP_WRITES | OTHERS_WRITE) != 0 && !is_sticky {
                return Err(refused("directory", above, "can be written by others".to_owned()));
            }
            if !is_trusted(found.uid()) && strangers.is_none() {
                strangers = Some((above.to_owned(), belongs_to(found.uid())));
            }
            if is_sticky {
                // What is in it belongs to who made it, so all of that has to be ours.
                return strangers.map_or(Ok(real.clone()), |(path, reason)| Err(refused("directory", &path, reason)));
            }
        }
        match strangers {
            // In a user namespace the system's own directories belong to a user that has no number there.
            Some((path, reason)) if !in_user_namespace() => Err(refused("directory", &path, reason)),
            _ => Ok(real),
        }
    }

    /// Refuses a ring that somebody else has made or can write.
    pub(crate) fn check_file(self, file: &File, path: &Path) -> Result<(), RingError> {
        let found = file.metadata().map_err(io_error("examine", path))?;
        self.check(&found).map_err(|reason| refused("ring", path, reason))
    }

    fn check(self, found: &Metadata) -> Result<(), String> {
        let of_group = match self {
            Self::Anyone => return Ok(()),
            Self::Private => false,
            Self::Group(group) => found.gid() == group,
        };
        let mode = found.mode() & 0o7777;
        if mode & OTHERS_WRITE != 0 {
            return Err(format!("can be written by everybody (mode {mode:04o})"));
        }
        if mode & GROUP_WRITES != 0 && !of_group {
            return Err(format!("can be written by group {} (mode {mode:04o})", found.gid()));
        }
        if !is_trusted(found.uid()) && !of_group {
            return Err(belongs_to(found.uid()));
        }
        Ok(())
    }
}

/// Root could do all of it anyway.
fn is_trusted(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

fn belongs_to(user: u32) -> String {
    format!("belongs to user {user}")
}

fn refused(what: &'static str, path: &Path, reason: String) -> RingError {
    RingError::Access { what, path: path.to_owned(), reason }
}

fn not_of_group(path: &Path, group: u32, error: rustix::io::Errno) -> RingError {
    match error {
        rustix::io::Errno::PERM => {
            RingError::Option { option: "group", value: group.to_string(), reason: "this user is no member of it" }
        }
        other => io_error("share", path)(other.into()),
    }
}

/// Whether users have other numbers here than in the system.
fn in_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| !map.split_whitespace().eq(["0", "0", u32::MAX.to_string().as_str()]))
}
