//! A file that gets its name when it is complete: Linux makes it without one (`O_TMPFILE`, then `linkat`), and a killed
//! creator leaves nothing behind. Elsewhere it has a name of its own until then, which a killed creator leaves.

#[cfg(not(target_os = "linux"))]
pub(crate) use hidden::Unnamed;
#[cfg(target_os = "linux")]
pub(crate) use nameless::Unnamed;

#[cfg(target_os = "linux")]
mod nameless {
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::Path;

    use rustix::fs::{AtFlags, CWD, linkat};

    pub struct Unnamed(File);

    impl Unnamed {
        /// Open for reading and writing, of this mode, for a name in this directory.
        pub fn make(directory: &Path, mode: u32) -> io::Result<Self> {
            let flags = libc::O_TMPFILE | libc::O_CLOEXEC;
            let file = OpenOptions::new().read(true).write(true).mode(mode).custom_flags(flags).open(directory)?;
            Ok(Self(file))
        }

        pub const fn file(&self) -> &File {
            &self.0
        }

        /// Fails with `AlreadyExists` when another has the name.
        pub fn give_name(self, path: &Path) -> io::Result<File> {
            let held = format!("/proc/self/fd/{}", self.0.as_raw_fd());
            linkat(CWD, held, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
            Ok(self.0)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod hidden {
    use std::fs::{self, File, OpenOptions};
    use std::io;
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Files this process made.
    static MADE: AtomicU32 = AtomicU32::new(0);

    pub struct Unnamed {
        file: File,
        hidden: Hidden,
    }

    /// Its first name, given up at the end.
    struct Hidden(PathBuf);

    impl Drop for Hidden {
        fn drop(&mut self) {
            // Where it fails, a file stays that nobody looks for.
            let _ = fs::remove_file(&self.0);
        }
    }

    impl Unnamed {
        /// Open for reading and writing, of this mode, for a name in this directory.
        pub fn make(directory: &Path, mode: u32) -> io::Result<Self> {
            loop {
                let made = MADE.fetch_add(1, Ordering::Relaxed);
                let path = directory.join(format!(".{}-{made}.new", std::process::id()));
                // One of a process that was killed and had our number is in the way: the next.
                match OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(&path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    file => return Ok(Self { file: file?, hidden: Hidden(path) }),
                }
            }
        }

        pub const fn file(&self) -> &File {
            &self.file
        }

        /// Fails with `AlreadyExists` when another has the name.
        pub fn give_name(self, path: &Path) -> io::Result<File> {
            fs::hard_link(&self.hidden.0, path)?;
            Ok(self.file)
        }
    }
}
