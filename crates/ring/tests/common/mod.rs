//! A private directory on tmpfs and rings in it.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;
use tidebook_ring::{Consumer, Read, Ring, RingOptions};

pub struct Rings {
    directory: TempDir,
}

impl Rings {
    pub fn new() -> Self {
        let private = std::fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix("tidebook-test").permissions(private).tempdir_in("/dev/shm");
        Self { directory: directory.expect("/dev/shm can be written") }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("test.ring")
    }

    #[allow(dead_code, reason = "not every test file makes its rings here")]
    pub fn create(&self, options: &RingOptions) -> Ring {
        Ring::create(self.path(), options).expect("the options are right and there is room")
    }
}

/// A child writes or reads without end: a test run that is killed must not leave it at that.
#[allow(dead_code, reason = "not every test file has children")]
pub fn die_with_the_parent() {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).expect("a signal of Linux");
}

/// All that can be read now, as (sequence, payload), in calls of `limit`.
#[allow(dead_code, reason = "not every test file reads everything")]
pub fn drain(consumer: &mut Consumer, limit: usize) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    loop {
        let read = consumer.poll(limit, |sequence, payload| found.push((sequence, payload.to_vec())));
        match read.expect("nothing is damaged") {
            Read::Messages(0) => return found,
            Read::Messages(_) => {}
            Read::Gap(gap) => panic!("unexpected {gap:?}"),
        }
    }
}
