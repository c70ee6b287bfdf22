//! A descriptor that is readable from when it is set until it is cleared: Linux's eventfd; elsewhere a pipe, which takes
//! two descriptors.

#[cfg(target_os = "linux")]
pub(crate) use event::Signal;
#[cfg(not(target_os = "linux"))]
pub(crate) use pipe::Signal;

#[cfg(target_os = "linux")]
mod event {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    use rustix::event::{EventfdFlags, eventfd};

    #[derive(Debug)]
    pub struct Signal(OwnedFd);

    impl Signal {
        pub fn new() -> io::Result<Self> {
            Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
        }

        #[inline]
        pub fn set(&self) {
            // Fails only when the count is at its end, and then it is set already.
            let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        }

        #[inline]
        pub fn clear(&self) {
            // Fails only when it was not set.
            let _ = rustix::io::read(&self.0, &mut [0; 8]);
        }
    }

    impl AsFd for Signal {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod pipe {
    use std::io::{self, PipeReader, PipeWriter};
    use std::os::fd::{AsFd, BorrowedFd};

    #[derive(Debug)]
    pub struct Signal {
        reader: PipeReader,
        writer: PipeWriter,
    }

    impl Signal {
        pub fn new() -> io::Result<Self> {
            let (reader, writer) = io::pipe()?;
            rustix::io::ioctl_fionbio(&reader, true)?;
            rustix::io::ioctl_fionbio(&writer, true)?;
            Ok(Self { reader, writer })
        }

        pub fn set(&self) {
            // Fails only when the pipe is full, and then it is set already.
            let _ = rustix::io::write(&self.writer, &[1]);
        }

        pub fn clear(&self) {
            let mut bytes = [0; 256];
            // Ends when a read finds less than it asked for, or nothing.
            while rustix::io::read(&self.reader, &mut bytes) == Ok(bytes.len()) {}
        }
    }

    impl AsFd for Signal {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.reader.as_fd()
        }
    }
}
