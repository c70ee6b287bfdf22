//! What a ring is made with.

use tidebook_types::{FieldKind, Schema};

use crate::access::Access;
use crate::error::RingError;
use crate::last_values::LastValues;
use crate::layout::{self, SCHEMA_NAME_MAX, SCHEMA_TEXT_MAX};

/// How the data area is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingKind {
    /// Fixed records, each in a slot: a run of them is one strided array.
    Slots {
        /// Bytes of each record.
        record_size_bytes: u32,
        /// Slots; a power of two.
        count: u64,
    },
    /// Messages of any length up to half the ring; one producer.
    Frames {
        /// Bytes of the data area; a power of two.
        size_bytes: u64,
    },
    /// Messages of any length up to half the ring, each in as many consecutive slots as it needs; many producers.
    Runs {
        /// Bytes of each slot, of which 20 are header and CRC; a multiple of 64.
        slot_size_bytes: u32,
        /// Slots; a power of two.
        count: u64,
    },
}

impl RingKind {
    /// Slots, where the ring is made of them.
    pub const fn slot_count(self) -> Option<u64> {
        match self {
            Self::Slots { count, .. } | Self::Runs { count, .. } => Some(count),
            Self::Frames { .. } => None,
        }
    }

    /// Slots or bytes; a power of two.
    pub const fn capacity(self) -> u64 {
        match self {
            Self::Slots { count, .. } | Self::Runs { count, .. } => count,
            Self::Frames { size_bytes } => size_bytes,
        }
    }
}

/// How many may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// One producer: its fast path has no read-modify-write.
    #[default]
    Spsc,
    /// Many producers, one order for all consumers.
    Mpsc,
}

/// Layout of the payload, as data a reader of another language understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingSchema {
    /// Name, at most 48 bytes.
    pub name: String,
    /// Rises with each change of the fields.
    pub version: u32,
    /// `name:type:offset[:count]` joined by `;`, types in numpy's spelling.
    pub text: String,
}

impl RingSchema {
    /// FNV-1a 64 over name, version and text.
    pub fn hash(&self) -> u64 {
        let bytes = self.name.bytes().chain([0]).chain(self.version.to_le_bytes()).chain(self.text.bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

impl From<&Schema> for RingSchema {
    fn from(schema: &Schema) -> Self {
        let fields: Vec<String> = schema
            .fields
            .iter()
            .map(|field| {
                let kind = match field.kind {
                    FieldKind::I8 => "i1",
                    FieldKind::U8 => "u1",
                    FieldKind::I32 => "i4",
                    FieldKind::U32 => "u4",
                    FieldKind::U64 => "u8",
                    FieldKind::I64 => "i8",
                };
                match field.count {
                    1 => format!("{}:{kind}:{}", field.name, field.offset),
                    count => format!("{}:{kind}:{}:{count}", field.name, field.offset),
                }
            })
            .collect();
        Self { name: schema.name.to_owned(), version: schema.version, text: fields.join(";") }
    }
}

/// What a ring is made with. Start from [`RingOptions::slots`], [`RingOptions::records`] or [`RingOptions::frames`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingOptions {
    /// See [`RingKind`].
    pub kind: RingKind,
    /// Layout of the payload; none for plain bytes.
    pub schema: Option<RingSchema>,
    /// Named and unnamed consumers at one time.
    pub consumers_max: u32,
    /// Frames carry a CRC-32C that readers check.
    pub crc: bool,
    /// Consumers that do not peek see only up to the durable watermark.
    pub visible_durable: bool,
    /// Consumers may park; costs the producer a fence per publish.
    pub parking: bool,
    /// How many may write.
    pub mode: Mode,
    /// Producers at one time; 1 in mode spsc.
    pub producers_max: u32,
    /// The producer waits for nobody: every consumer is overwritten, and to ask for more is an error.
    pub never_waits: bool,
    /// The newest record of each key is kept beside the slots.
    pub last_values: Option<LastValues>,
    /// Numbering of the messages; a new one from the clock when `None`.
    pub epoch: Option<u64>,
    /// Sequence of the first message; above 1 when a journal already holds those before.
    pub first_sequence: u64,
    /// Who may have it.
    pub access: Access,
}

impl RingOptions {
    fn new(kind: RingKind) -> Self {
        Self {
            kind,
            schema: None,
            consumers_max: 16,
            crc: true,
            visible_durable: false,
            parking: false,
            mode: Mode::Spsc,
            producers_max: 1,
            never_waits: false,
            last_values: None,
            epoch: None,
            first_sequence: 1,
            access: Access::Private,
        }
    }

    /// Slots for records of this size.
    pub fn slots(record_size_bytes: u32, count: u64) -> Self {
        Self::new(RingKind::Slots { record_size_bytes, count })
    }

    /// Slots for the records of a published layout.
    pub fn records(schema: &Schema, count: u64) -> Self {
        let mut options = Self::slots(u32::try_from(schema.size_bytes).expect("records are small"), count);
        options.schema = Some(schema.into());
        options
    }

    /// Frames in a data area of this size.
    pub fn frames(size_bytes: u64) -> Self {
        Self::new(RingKind::Frames { size_bytes })
    }

    /// Messages of any length over slots of this size, which many producers can share.
    pub fn runs(slot_size_bytes: u32, count: u64) -> Self {
        Self::new(RingKind::Runs { slot_size_bytes, count })
    }

    /// Many producers, up to this many at one time.
    #[must_use]
    pub fn mpsc(mut self, producers_max: u32) -> Self {
        (self.mode, self.producers_max) = (Mode::Mpsc, producers_max);
        self
    }

    /// Sets [`RingOptions::visible_durable`].
    #[must_use]
    pub fn visible_durable(mut self, on: bool) -> Self {
        self.visible_durable = on;
        self
    }

    /// Sets [`RingOptions::parking`].
    #[must_use]
    pub fn parking(mut self, on: bool) -> Self {
        self.parking = on;
        self
    }

    /// Sets [`RingOptions::never_waits`].
    #[must_use]
    pub fn never_waits(mut self, on: bool) -> Self {
        self.never_waits = on;
        self
    }

    /// Sets [`RingOptions::last_values`].
    #[must_use]
    pub fn last_values(mut self, table: LastValues) -> Self {
        self.last_values = Some(table);
        self
    }

    /// Sets [`RingOptions::crc`].
    #[must_use]
    pub fn crc(mut self, on: bool) -> Self {
        self.crc = on;
        self
    }

    /// Sets [`RingOptions::consumers_max`].
    #[must_use]
    pub fn consumers_max(mut self, max: u32) -> Self {
        self.consumers_max = max;
        self
    }

    /// Sets [`RingOptions::epoch`] and [`RingOptions::first_sequence`]: the ring goes on where a journal stands.
    #[must_use]
    pub fn continuing(mut self, epoch: u64, first_sequence: u64) -> Self {
        self.epoch = Some(epoch);
        self.first_sequence = first_sequence;
        self
    }

    /// Sets [`RingOptions::access`].
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Refuses what cannot be.
    ///
    /// # Errors
    /// [`RingError::Option`] naming the option, its value and its bounds.
    pub fn check(&self) -> Result<(), RingError> {
        let refuse = |option, value: String, reason| Err(RingError::Option { option, value, reason });
        match self.kind {
            RingKind::Slots { record_size_bytes, count } => {
                if record_size_bytes == 0 || record_size_bytes > 1 << 20 {
                    return refuse("record_size_bytes", record_size_bytes.to_string(), "must be from 1 to 1048576");
                }
                if !count.is_power_of_two() || !(8..=1 << 32).contains(&count) {
                    return refuse("count", count.to_string(), "must be a power of two, at least 8");
                }
            }
            RingKind::Frames { size_bytes } => {
                if !size_bytes.is_power_of_two() || !(4096..=1 << 40).contains(&size_bytes) {
                    return refuse("size_bytes", size_bytes.to_string(), "must be a power of two, at least 4096");
                }
            }
            RingKind::Runs { slot_size_bytes, count } => {
                if !slot_size_bytes.is_multiple_of(64) || !(64..=1 << 20).contains(&slot_size_bytes) {
                    return refuse(
                        "slot_size_bytes",
                        slot_size_bytes.to_string(),
                        "must be a multiple of 64, at most 1048576",
                    );
                }
                if !count.is_power_of_two() || !(8..=1 << 32).contains(&count) {
                    return refuse("count", count.to_string(), "must be a power of two, at least 8");
                }
            }
        }
        match (self.mode, self.kind) {
            (Mode::Mpsc, RingKind::Frames { .. }) => {
                return refuse(
                    "mode",
                    "mpsc".to_owned(),
                    "frames have one producer; use slots, or runs for messages of any length",
                );
            }
            (Mode::Spsc, RingKind::Runs { .. }) => {
                return refuse("mode", "spsc".to_owned(), "runs are for many producers; use frames for one");
            }
            (Mode::Spsc, _) if self.producers_max != 1 => {
                return refuse("producers_max", self.producers_max.to_string(), "must be 1 in mode spsc");
            }
            _ if !(1..=layout::PRODUCERS_MAX).contains(&self.producers_max) => {
                return refuse("producers_max", self.producers_max.to_string(), "must be from 1 to 255");
            }
            _ => {}
        }
        if !(1..=1024).contains(&self.consumers_max) {
            return refuse("consumers_max", self.consumers_max.to_string(), "must be from 1 to 1024");
        }
        if self.first_sequence == 0 || self.first_sequence > 1 << 62 {
            return refuse("first_sequence", self.first_sequence.to_string(), "must be at least 1 and below 2^62");
        }
        self.check_last_values()?;
        if let Some(schema) = &self.schema {
            if schema.name.is_empty() || schema.name.len() > SCHEMA_NAME_MAX {
                return refuse("schema.name", schema.name.clone(), "must have 1 to 48 bytes");
            }
            if schema.text.len() > SCHEMA_TEXT_MAX {
                return refuse("schema.text", format!("{} bytes", schema.text.len()), "must fit 3840 bytes");
            }
        }
        Ok(())
    }

    fn check_last_values(&self) -> Result<(), RingError> {
        let refuse = |option, value: String, reason| Err(RingError::Option { option, value, reason });
        let Some(table) = self.last_values else { return Ok(()) };
        let RingKind::Slots { record_size_bytes, .. } = self.kind else {
            return refuse("last_values", table.count.to_string(), "only records have keys");
        };
        if !(1..=layout::LAST_VALUES_MAX).contains(&table.count) {
            return refuse("last_values", table.count.to_string(), "must be from 1 to 2097152 keys");
        }
        if ![1, 2, 4, 8].contains(&table.key_size)
            || table.key_offset.saturating_add(table.key_size) > record_size_bytes
        {
            let value = format!("{} bytes at {}", table.key_size, table.key_offset);
            return refuse("last_value_key", value, "must be an integer within the record");
        }
        if self.visible_durable {
            let reason = "a record is told before it is durable; only memory channels have last values";
            return refuse("last_values", table.count.to_string(), reason);
        }
        Ok(())
    }

    /// Bytes from slot to slot; 0 for frames.
    pub fn stride(&self) -> u32 {
        match self.kind {
            RingKind::Slots { record_size_bytes, .. } => {
                let size_bytes = layout::frame_size_bytes(record_size_bytes as usize);
                // Two producers fill neighbouring slots at one time.
                let multiple = if self.mode == Mode::Mpsc { 64 } else { 8 };
                u32::try_from(size_bytes.next_multiple_of(multiple)).expect("bounded by check")
            }
            RingKind::Frames { .. } => 0,
            RingKind::Runs { slot_size_bytes, .. } => slot_size_bytes,
        }
    }
}
