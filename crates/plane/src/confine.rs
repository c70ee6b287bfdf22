//! A seccomp profile for engine threads: what they never need, the kernel refuses.
//!
//! An engine parses bytes that strangers sent. If a mistake in a decoder ever let them steer the thread, they would find
//! that it can start no program, open no connection, trace nobody and remove no file: it may use memory, files that it can
//! open, and clocks, and sleep. The list is of what is allowed, so what a new kernel adds is refused too. The profile is the
//! thread's and cannot be taken off again. It is no wall against a thread that owns the memory of its process; for that
//! the engines run as processes of their own.

#[cfg(target_os = "linux")]
mod seccomp;

/// What happens to a call that is not on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Confinement {
    /// Nothing is refused.
    #[default]
    Off,
    /// It goes through and the kernel's log names it: to see what a profile would break.
    Log,
    /// It fails with EPERM.
    On,
}

impl Confinement {
    /// Confines the calling thread, for good.
    ///
    /// # Errors
    /// Why the kernel does not take it.
    pub fn apply(self) -> Result<(), String> {
        match self {
            Self::Off => Ok(()),
            #[cfg(target_os = "linux")]
            Self::Log | Self::On => seccomp::apply(self),
            #[cfg(not(target_os = "linux"))]
            Self::Log | Self::On => Err("only Linux has seccomp".to_owned()),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};
    use std::process::Command;

    use super::*;

    /// In a thread of its own: it stays confined.
    fn confined<T: Send + 'static>(how: Confinement, work: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = std::thread::spawn(move || {
            how.apply().expect("this kernel has seccomp");
            work()
        });
        thread.join().expect("the work ends")
    }

    #[test]
    fn a_confined_thread_starts_no_program_and_opens_no_connection_but_reads_and_sleeps() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (program, connection, text) = confined(Confinement::On, move || {
            std::thread::sleep(std::time::Duration::from_millis(1));
            let text = std::fs::read_to_string("/proc/self/comm").map(|text| text.len());
            (Command::new("true").status().map(drop), TcpStream::connect(address).map(drop), text)
        });
        assert_eq!(program.unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert_eq!(connection.unwrap_err().kind(), ErrorKind::PermissionDenied);
        assert!(text.unwrap() > 0);
        // Other threads of the process are not.
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn without_a_profile_or_with_one_that_only_logs_everything_goes_through() {
        for how in [Confinement::Off, Confinement::Log] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            confined(how, move || TcpStream::connect(address)).unwrap();
        }
    }
}
