//! Crash-surviving shared-memory rings: one or many producers, many consumers, each with a cursor of its own.
//!
//! A ring is one mapped file. Messages are frames with a CRC; the sequence word of a frame, written last, is its
//! commit. A killed producer never leaves half a message and goes on with the next sequence; a killed consumer goes on
//! at its cursor. The live are told from the dead by kernel locks alone. Byte tables: `docs/formats/ring.md`.
//!
//! ```
//! use tidebook_ring::{ConsumerOptions, Read, Ring, RingOptions};
//!
//! # let directory = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700)).tempdir()?;
//! let ring = Ring::create(directory.path().join("greetings.ring"), &RingOptions::frames(1 << 16))?;
//! let mut producer = ring.producer()?;
//! let mut consumer = ring.consumer(&ConsumerOptions::named("doc"))?;
//! producer.write(b"hello")?;
//! let read = consumer.poll(100, |sequence, payload| assert_eq!((sequence, payload), (1, &b"hello"[..])))?;
//! assert_eq!(read, Read::Messages(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
mod boot;
pub mod claims;
mod consumer;
mod crc;
mod cursor;
mod error;
mod exclusive;
pub mod floor;
mod frame;
mod futex;
pub mod last_values;
pub mod layout;
mod lock;
mod mapping;
pub mod measure;
mod options;
pub mod pair;
pub mod paths;
mod producer;
mod ring;
mod room;
mod shared;
mod signal;
pub mod sleep;
mod sleepers;
mod slots;
mod status;
pub mod tuning;
mod unnamed;
mod verify;
mod view;
mod wait;
mod watch;
mod window;
mod word;

pub use access::Access;
pub use consumer::{Consumer, ConsumerOptions, Gap, Policy, Read, Start, wait_any, wait_any_or_durable};
pub use cursor::MoveTo;
pub use error::RingError;
pub use frame::Place;
pub use last_values::{LastValue, LastValues};
pub use mapping::RingInfo;
pub use options::{Mode, RingKind, RingOptions, RingSchema};
pub use producer::{Claim, Claimed, Obstacle, Producer, Written, WrittenRecords};
pub use ring::Ring;
pub use sleepers::Alarm;
pub use slots::{SlotBatch, Slots};
pub use status::{
    ConsumerState, ConsumerStatus, LatencyCounts, ProducerStatus, ReaderLoss, RepairCounts, RingStatus, StuckClaim,
};
pub use verify::{Problem, Verification, Verifier};
pub use view::{Damage, RingView, Walked, Walker};
pub use wait::Wait;
pub use watch::Watch;
pub use window::Window;
pub use word::Word;
