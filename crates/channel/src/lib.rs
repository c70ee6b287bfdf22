//! A durable channel: a ring and a journal that hold one and the same sequence of messages.
//!
//! The ring is the live window in shared memory, the journal the history on disk. A thread of the channel's owner
//! copies every message from the ring to the journal and moves the ring's durable watermark, up to which ordinary
//! consumers see; a `peek` consumer sees all that is published, and nothing lasting may come of what it saw. The ring
//! gives up a message only when the journal has synced it or, where the disk is slow, when it is staged in a second ring
//! beside the first, so ring, staging and synced journal together never have a hole: after a crash of any process what
//! the first two have is appended to the journal first, after a reboot the ring is made anew where the journal ends.
//! Consumers that producers do not wait for read from the journal what the ring does not hold any more.
//!
//! ```
//! use tidebook_channel::{Channel, ChannelOptions};
//! use tidebook_ring::{ConsumerOptions, Read};
//!
//! # let directory = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700)).tempdir()?;
//! let (ring, wal) = (directory.path().join("feed.binance.ring"), directory.path().join("feed.binance"));
//! let (channel, report) = Channel::open(&ring, &wal, &ChannelOptions::frames("feed.binance", 1 << 16))?;
//! assert_eq!(report.replayed_from_ring, 0);
//! let mut producer = channel.producer()?;
//! let mut consumer = channel.consumer(&ConsumerOptions::named("storage"))?;
//! let sequence = producer.write(b"hello")?;
//! assert!(channel.wait_durable(sequence, std::time::Duration::from_secs(5)));
//! assert_eq!(consumer.poll(10, |sequence, payload| assert_eq!((sequence, payload), (1, &b"hello"[..])))?, Read::Messages(1));
//! println!("{}", channel.guarantee());
//! channel.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod channel;
pub mod checkpoints;
mod configuration;
mod consumer;
mod error;
mod guarantee;
mod journaling;
mod link;
mod other_nodes;
mod progress;
mod staging;

pub use channel::{Channel, ChannelOptions, ChannelReport, Discarded};
pub use checkpoints::{Checkpoint, CheckpointError, CheckpointStore, Cursor, Subject, SubjectKind};
pub use configuration::{Layout, LayoutChange, layouts};
pub use consumer::{ChannelConsumer, End};
pub use error::ChannelError;
pub use guarantee::Guarantee;
pub use link::link_path;
pub use progress::DurableWaiter;
pub use staging::staging_path;
