//! A seccomp profile for engine threads: what they never need, the kernel refuses.
//!
//! An engine parses bytes that strangers sent. If a mistake in a decoder ever let them steer the thread, they would find
//! that it can start no program, open no connection, trace nobody and remove no file: it may use memory, files that it can
//! open, and clocks, and sleep. The list is of what is allowed, so what a new kernel adds is refused too. The profile is the
//! thread's and cannot be taken off again. It is no wall against a thread that owns the memory of its process; for that
//! the engines run as processes of their own.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

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
        let refused = match self {
            Self::Off => return Ok(()),
            Self::Log => SeccompAction::Log,
            Self::On => SeccompAction::Errno(libc::EPERM as u32),
        };
        let arch = std::env::consts::ARCH.try_into().map_err(|_| "this processor has no profile".to_owned())?;
        let rules = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
        let filter =
            SeccompFilter::new(rules, refused, SeccompAction::Allow, arch).map_err(|error| error.to_string())?;
        let program: BpfProgram = filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())?;
        seccompiler::apply_filter(&program).map_err(|error| error.to_string())
    }
}

/// Not in libc for every target.
const SYS_FUTEX_WAITV: i64 = 449;

const ALLOWED: &[i64] = &[
    // Sleeping, waking, clocks.
    libc::SYS_futex,
    SYS_FUTEX_WAITV,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_getrandom,
    // Journals, rings and their locks.
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_fcntl,
    libc::SYS_geteuid,
    // Its own end, and a debugger's or profiler's signals.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_sched_getaffinity,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
];

#[cfg(test)]
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
