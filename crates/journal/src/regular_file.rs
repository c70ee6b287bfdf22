//! Opens what must be a regular file, and nothing else that has its name.
//!
//! A named pipe would keep whoever opens it waiting until somebody opens its other end, which may be never; a device, a
//! socket or a directory fails later, in words that say nothing of it. So a file is opened without waiting, which regular
//! files do not know, and looked at before anything is read. The cost is one look at each opening.

use std::fs::{File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// What stands where a file is needed and is none. It comes inside an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found} stands in the place of this file; see what put it there, move it away, and put the file back if there was one"
)]
pub struct NotAFile {
    /// What it is, with its article.
    pub found: &'static str,
}

impl From<NotAFile> for io::Error {
    fn from(error: NotAFile) -> Self {
        Self::other(error)
    }
}

/// Opens the regular file at `path`.
///
/// # Errors
/// [`NotAFile`] for anything else of this name; what opening returned.
pub fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    open(path, options, 0)
}

/// As [`open_regular`], but not what a symbolic link leads to: for a file in a place where others may make links.
///
/// # Errors
/// [`NotAFile`] for anything else of this name, also a link; what opening returned.
pub fn open_regular_itself(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    open(path, options, libc::O_NOFOLLOW)
}

fn open(path: &Path, options: &mut OpenOptions, flags: i32) -> io::Result<File> {
    let look = if flags & libc::O_NOFOLLOW == 0 { std::fs::metadata } else { std::fs::symlink_metadata };
    let file = options.custom_flags(libc::O_NONBLOCK | flags).open(path).map_err(|error| match look(path) {
        // Some of them cannot even be opened so.
        Ok(found) => check(found.file_type()).err().unwrap_or(error),
        Err(_) => error,
    })?;
    check(file.metadata()?.file_type())?;
    Ok(file)
}

/// Refuses what is at `path` and no regular file; what is not there is fine.
///
/// # Errors
/// [`NotAFile`]; what looking returned.
pub fn check_regular(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        found => check(found?.file_type()),
    }
}

fn check(found: FileType) -> io::Result<()> {
    let found = match found {
        file if file.is_file() => return Ok(()),
        directory if directory.is_dir() => "a directory",
        link if link.is_symlink() => "a symbolic link",
        pipe if pipe.is_fifo() => "a named pipe",
        socket if socket.is_socket() => "a socket",
        _ => "a device",
    };
    Err(NotAFile { found }.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Method: one of each kind that can be made without rights, opened in each way that files are opened here.
    #[test]
    fn what_is_no_regular_file_is_refused_at_once_by_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        std::fs::create_dir(path("directory")).unwrap();
        let _listening = UnixListener::bind(path("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("device")).unwrap();
        let expected =
            [("pipe", "a named pipe"), ("directory", "a directory"), ("socket", "a socket"), ("device", "a device")];
        for (name, found) in expected {
            let ways = [
                OpenOptions::new().read(true).clone(),
                OpenOptions::new().read(true).write(true).clone(),
                OpenOptions::new().write(true).create(true).truncate(false).clone(),
            ];
            for mut options in ways {
                let error = open_regular(&path(name), &mut options).unwrap_err();
                let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<NotAFile>());
                assert_eq!(refused, Some(&NotAFile { found }), "{name} {options:?}: {error}");
                let itself = if name == "device" { "a symbolic link" } else { found };
                let error = open_regular_itself(&path(name), &mut options).unwrap_err();
                let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<NotAFile>());
                assert_eq!(refused, Some(&NotAFile { found: itself }), "{name} {options:?}: {error}");
            }
            assert!(check_regular(&path(name)).is_err(), "{name}");
        }
        std::fs::write(path("file"), b"content").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        open_regular_itself(&path("file"), OpenOptions::new().read(true)).unwrap();
        std::os::unix::fs::symlink("nowhere", path("dangling")).unwrap();
        for name in ["link", "dangling"] {
            let error = open_regular_itself(&path(name), OpenOptions::new().read(true)).unwrap_err();
            assert!(error.to_string().starts_with("a symbolic link stands in the place of this file"), "{error}");
        }
        for name in ["file", "link"] {
            open_regular(&path(name), OpenOptions::new().read(true)).unwrap();
            check_regular(&path(name)).unwrap();
        }
        check_regular(&path("absent")).unwrap();
        let absent = open_regular(&path("absent"), OpenOptions::new().read(true)).unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
    }
}
