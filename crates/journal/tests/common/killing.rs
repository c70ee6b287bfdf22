//! Starting this executable again as a child that works until it is killed.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tidebook_testkit::Random;

/// Set for the child: the directory it works in.
pub const CHILD: &str = "TIDEBOOK_CHILD";

/// A child at work.
pub struct Working(Child);

/// What a killed child has left.
pub struct Killed {
    /// Lines of its standard output; the last may be cut.
    pub lines: Vec<String>,
    /// Its standard error.
    pub said: String,
}

/// Starts it on `directory`.
pub fn start(directory: &Path, mode: &str) -> Working {
    let child = Command::new(std::env::current_exe().expect("this executable"))
        .arg(mode)
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    Working(child.expect("the child starts"))
}

impl Working {
    /// Lets it work until this holds, or until it ends by itself.
    #[allow(dead_code, reason = "each test file uses its own part")]
    pub fn until(mut self, holds: impl Fn() -> bool) -> Self {
        while !holds() && self.0.try_wait().expect("wait").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        self
    }

    /// Kills it at a random instant, of its start or, if it is `to_work` first, of its work, however slow the machine is.
    pub fn kill(mut self, random: &mut Random, to_work: bool) -> Killed {
        let mut lines = BufReader::new(self.0.stdout.take().expect("a pipe")).lines();
        let first = if to_work { lines.next() } else { None };
        std::thread::sleep(Duration::from_micros(random.below(30_000)));
        self.0.kill().expect("kill");
        self.0.wait().expect("wait");
        let lines = first.into_iter().chain(lines).map_while(Result::ok).collect();
        let mut said = String::new();
        self.0.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
        Killed { lines, said }
    }
}
