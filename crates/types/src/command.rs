//! Commands to the venue: what is journaled on channel `orders`, and what a gateway writes to `orders.in`.
//!
//! Every command is one record of [`COMMAND_SIZE_BYTES`]: a common head, then a body by [`CommandHead::kind`]. One size, because a
//! batch of them is then one structured array and a slot of a ring holds any. Fields that a kind or an order type has no use for
//! are 0. What each means and when it is refused is in `docs/matching.md`, the byte tables are in `docs/formats/orders.md`.

use crate::records::{Field, FieldKind, Record, Schema, field};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Bytes of every command.
pub const COMMAND_SIZE_BYTES: usize = 128;
/// Bytes behind the head.
pub const BODY_SIZE_BYTES: usize = COMMAND_SIZE_BYTES - size_of::<CommandHead>();
/// Largest price, size and amount in units: exact in a double, and no product of two leaves 128 bits.
pub const UNITS_MAX: i64 = (1 << 53) - 1;

macro_rules! codes {
    ($(#[$meta:meta])* $name:ident { $($(#[$item_meta:meta])* $item:ident = $code:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$item_meta])* $item = $code,)* }

        impl $name {
            /// Every one, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$item),*];

            /// The one with this number, if there is one.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$item),)* _ => None }
            }

            /// The number stored in records.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// Its word, as users write it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$item => $text,)* }
            }
        }
    };
}
pub(crate) use codes;

codes! {
    /// What a command asks for.
    CommandKind {
        /// A new order: [`PlaceBody`].
        Place = 1 "place",
        /// Two orders of which one cancels the other: [`PlacePairBody`].
        PlacePair = 2 "place_pair",
        /// Another price, size or condition: [`ReplaceBody`].
        Replace = 3 "replace",
        /// One order away: [`CancelBody`].
        Cancel = 4 "cancel",
        /// Many orders away: [`MassCancelBody`].
        MassCancel = 5 "mass_cancel",
        /// The account's dead man's switch: [`CancelAllAfterBody`].
        CancelAllAfter = 6 "cancel_all_after",
        /// The account's session ended: no body.
        Disconnect = 7 "disconnect",
        /// Time goes on: no body.
        Timer = 8 "timer",
        /// Another session of an instrument: [`SessionBody`].
        Session = 9 "session",
        /// Lists or changes an instrument: [`InstrumentBody`].
        Instrument = 10 "instrument",
        /// Opens or changes an account: [`AccountBody`].
        Account = 11 "account",
        /// Limits of an account's risk: [`LimitsBody`].
        Limits = 12 "limits",
        /// Cash or holdings in or out: [`TransferBody`].
        Transfer = 13 "transfer",
        /// Trading on or off, of an account or of all (account 0): [`KillBody`].
        Kill = 14 "kill",
    }
}

codes! {
    /// Type of an order.
    OrderType {
        /// At a price or better.
        Limit = 1 "limit",
        /// At any price.
        Market = 2 "market",
        /// Market once a trade reaches its trigger.
        Stop = 3 "stop",
        /// Limit once a trade reaches its trigger.
        StopLimit = 4 "stop_limit",
        /// Market once a trade is so far from the best since.
        TrailingStop = 5 "trailing_stop",
        /// At a distance of the best price.
        Pegged = 6 "pegged",
    }
}

impl OrderType {
    /// The time in force of one that says none: what a market order does not get at once is gone.
    pub const fn usual_time_in_force(self) -> TimeInForce {
        match self {
            Self::Market => TimeInForce::Ioc,
            _ => TimeInForce::Gtc,
        }
    }
}

codes! {
    /// How long an order stays.
    TimeInForce {
        /// Until cancelled.
        Gtc = 1 "gtc",
        /// Filled at once, the rest cancelled.
        Ioc = 2 "ioc",
        /// Filled whole at once or not at all.
        Fok = 3 "fok",
        /// Until a time.
        Gtd = 4 "gtd",
        /// Until the session closes.
        Day = 5 "day",
    }
}

codes! {
    /// What an aggressor does when it meets an order of its owner.
    SelfTrade {
        /// They trade.
        None = 0 "none",
        /// The aggressor goes.
        CancelNewest = 1 "cancel_newest",
        /// The resting order goes.
        CancelOldest = 2 "cancel_oldest",
        /// Both go.
        CancelBoth = 3 "cancel_both",
        /// Both shrink by the smaller.
        Decrement = 4 "decrement",
    }
}

codes! {
    /// Which price a pegged order follows.
    Peg {
        /// No peg.
        None = 0 "none",
        /// Best of its own side.
        Primary = 1 "primary",
        /// Best of the opposite side.
        Opposite = 2 "opposite",
        /// The middle.
        Mid = 3 "mid",
    }
}

codes! {
    /// What trading is in.
    Session {
        /// Nothing but cancels.
        Closed = 0 "closed",
        /// Orders are collected.
        PreOpen = 1 "pre_open",
        /// Orders are collected for one price, which is shown.
        Auction = 2 "auction",
        /// Orders match as they come.
        Continuous = 3 "continuous",
        /// Nothing but cancels, until it is resumed.
        Halted = 4 "halted",
    }
}

codes! {
    /// What happens to an aggressor that would leave the price band.
    BandAction {
        /// What is left of it is cancelled.
        Reject = 0 "reject",
        /// The same, and the instrument is halted.
        Halt = 1 "halt",
    }
}

codes! {
    /// What risk said of a command.
    Verdict {
        /// Not asked yet: a command of `orders.in`.
        None = 0 "none",
        /// Carried out by the matching engine.
        Accepted = 1 "accepted",
        /// Journaled and not carried out; [`CommandHead::reason`] says why.
        Rejected = 2 "rejected",
    }
}

/// Order flag: it must not take; rejected where it would.
pub const POST_ONLY: u8 = 1;
/// Order flag: cancelled when the account's session ends.
pub const CANCEL_ON_DISCONNECT: u8 = 2;
/// Every order flag there is.
pub const ORDER_FLAGS: u8 = POST_ONLY | CANCEL_ON_DISCONNECT;

macro_rules! plain {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident : $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }

        impl $name {
            /// How others read it.
            pub const FIELDS: &'static [Field] = &[$(field!($name, $field, $type)),*];
        }

        impl Default for $name {
            /// All zero.
            fn default() -> Self {
                FromZeros::new_zeroed()
            }
        }
    };
}

pub(crate) use plain;

plain! {
    /// What all commands begin with.
    CommandHead {
        /// ns since 1970 UTC; on `orders` never going back.
        ts: i64,
        /// Sequence on `orders.in`; 0 on `orders.in` itself.
        source_sequence: u64,
        /// Last execution that risk had seen when it judged; 0 on `orders.in`.
        executions_seen: u64,
        /// Whose command; 0 for the operator's.
        account: u32,
        /// Which instrument; 0 where the kind has none, or means all.
        instrument_id: u32,
        /// [`CommandKind`].
        kind: u8,
        /// [`Verdict`].
        verdict: u8,
        /// [`crate::Reason`], where it was rejected.
        reason: u8,
        /// Zero.
        reserved: [u8; 5],
    }
}

/// A command as its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Command {
    /// Common to all.
    pub head: CommandHead,
    /// By [`CommandHead::kind`]; see [`Command::body`].
    pub body: [u8; BODY_SIZE_BYTES],
}

const _: () = assert!(size_of::<Command>() == COMMAND_SIZE_BYTES && size_of::<CommandHead>() == 40);

impl Command {
    /// A command of this kind with this body.
    pub fn new<B: IntoBytes + Immutable>(kind: CommandKind, account: u32, instrument_id: u32, body: &B) -> Self {
        let head = CommandHead { account, instrument_id, kind: kind.code(), ..CommandHead::default() };
        let mut command = Self { head, body: [0; BODY_SIZE_BYTES] };
        let bytes = body.as_bytes();
        command.body[..bytes.len()].copy_from_slice(bytes);
        command
    }

    /// One without a body: `Disconnect`, `Timer`.
    pub fn bare(kind: CommandKind, account: u32) -> Self {
        Self::new(kind, account, 0, &[0u8; 0])
    }

    /// At this time.
    #[must_use]
    pub const fn at(mut self, ts: i64) -> Self {
        self.head.ts = ts;
        self
    }

    /// Fields of the body of this kind, their offsets from its start.
    pub const fn body_fields(kind: CommandKind) -> &'static [Field] {
        match kind {
            CommandKind::Place => PlaceBody::FIELDS,
            CommandKind::PlacePair => PlacePairBody::FIELDS,
            CommandKind::Replace => ReplaceBody::FIELDS,
            CommandKind::Cancel => CancelBody::FIELDS,
            CommandKind::MassCancel => MassCancelBody::FIELDS,
            CommandKind::CancelAllAfter => CancelAllAfterBody::FIELDS,
            CommandKind::Disconnect | CommandKind::Timer => &[],
            CommandKind::Session => SessionBody::FIELDS,
            CommandKind::Instrument => InstrumentBody::FIELDS,
            CommandKind::Account => AccountBody::FIELDS,
            CommandKind::Limits => LimitsBody::FIELDS,
            CommandKind::Transfer => TransferBody::FIELDS,
            CommandKind::Kill => KillBody::FIELDS,
        }
    }

    /// Its body, read as this type, which the kind has to say.
    pub fn body<B: FromBytes + KnownLayout + Immutable>(&self) -> B {
        const { assert!(size_of::<B>() <= BODY_SIZE_BYTES) };
        B::read_from_prefix(&self.body).expect("no body is longer").0
    }
}

/// Those of the head, then the body as its bytes: which fields those are says [`Command::body_fields`].
const COMMAND_FIELDS: [Field; CommandHead::FIELDS.len() + 1] = {
    let body = Field { name: "body", offset: size_of::<CommandHead>(), kind: FieldKind::U8, count: BODY_SIZE_BYTES };
    let mut fields = [body; CommandHead::FIELDS.len() + 1];
    let mut index = 0;
    while index < CommandHead::FIELDS.len() {
        fields[index] = CommandHead::FIELDS[index];
        index += 1;
    }
    fields
};

impl Record for Command {
    const SCHEMA: Schema =
        Schema { name: "commands", version: 1, size_bytes: COMMAND_SIZE_BYTES, fields: &COMMAND_FIELDS };
}

plain! {
    /// A new order.
    PlaceBody {
        /// The client's own id, unique among its account's; 0 for none.
        client_order_id: [u8; 16],
        /// Limit; of a market order, a stop or a pegged order the worst price it may take, 0 for none.
        price: i64,
        /// How much.
        size: i64,
        /// Quote currency to spend or to receive, instead of `size`.
        amount: i64,
        /// Of a stop.
        trigger_price: i64,
        /// What an iceberg shows.
        display_size: i64,
        /// Of a trailing stop or a pegged order.
        offset: i64,
        /// Of GTD.
        expire_ts: i64,
        /// `SIDE_BUY` or `SIDE_SELL`.
        side: i8,
        /// [`OrderType`].
        order_type: u8,
        /// [`TimeInForce`].
        time_in_force: u8,
        /// [`SelfTrade`].
        self_trade: u8,
        /// [`Peg`].
        peg: u8,
        /// `POST_ONLY`, `CANCEL_ON_DISCONNECT`.
        flags: u8,
        /// Zero.
        reserved: [u8; 10],
    }
}

plain! {
    /// A limit order and a stop of the same side and size, of which one cancels the other.
    PlacePairBody {
        /// Of the limit leg.
        client_order_id: [u8; 16],
        /// Of the stop leg.
        stop_client_order_id: [u8; 16],
        /// Of the limit leg.
        price: i64,
        /// Of both.
        size: i64,
        /// Of the stop leg.
        trigger_price: i64,
        /// Of the stop leg once triggered; 0 for a market order.
        limit_price: i64,
        /// Of GTD, both.
        expire_ts: i64,
        /// `SIDE_BUY` or `SIDE_SELL`, both.
        side: i8,
        /// [`TimeInForce`], both.
        time_in_force: u8,
        /// [`SelfTrade`], both.
        self_trade: u8,
        /// `POST_ONLY` (of the limit leg), `CANCEL_ON_DISCONNECT` (of both).
        flags: u8,
        /// Zero.
        reserved: [u8; 12],
    }
}

plain! {
    /// An order's new state: every field as it shall be.
    ReplaceBody {
        /// Which.
        order_id: u64,
        /// The client's id from now on; 0 to keep it.
        client_order_id: [u8; 16],
        /// Limit.
        price: i64,
        /// The whole size, what is filled included; 0 keeps it.
        size: i64,
        /// Of a stop; of a trailing stop 0 keeps where it is.
        trigger_price: i64,
        /// What an iceberg shows.
        display_size: i64,
        /// Of a trailing stop or a pegged order.
        offset: i64,
        /// Of GTD.
        expire_ts: i64,
        /// Zero.
        reserved: [u8; 16],
    }
}

plain! {
    /// One order away.
    CancelBody {
        /// Which; 0 if `client_order_id` says it.
        order_id: u64,
        /// Which; risk puts `order_id` in.
        client_order_id: [u8; 16],
        /// Zero.
        reserved: [u8; 64],
    }
}

plain! {
    /// Many orders away: of the head's account (0 for all, the operator's alone) and instrument (0 for all).
    MassCancelBody {
        /// `SIDE_BUY`, `SIDE_SELL`, or 0 for both.
        side: i8,
        /// Zero.
        reserved: [u8; 87],
    }
}

plain! {
    /// All orders of the account go unless this comes again in time.
    CancelAllAfterBody {
        /// From the command's time on; 0 switches it off.
        timeout_ns: i64,
        /// Zero.
        reserved: [u8; 80],
    }
}

plain! {
    /// Another session of the head's instrument.
    SessionBody {
        /// [`Session`].
        session: u8,
        /// Zero.
        reserved: [u8; 87],
    }
}

plain! {
    /// The head's instrument from now on. Exponents and currencies of one that is listed cannot change; tick and lot only while it has no order.
    InstrumentBody {
        /// Price step.
        tick: i64,
        /// Size step.
        lot: i64,
        /// Smallest size of an order.
        size_min: i64,
        /// Largest size of an order.
        size_max: i64,
        /// Middle of the price band; 0 for none, or to keep it.
        reference_price: i64,
        /// Half width of the band in parts per million; 0 for none.
        band_ppm: u32,
        /// Fee of who waited, in parts per million; below 0 a rebate.
        maker_ppm: i32,
        /// Fee of who came.
        taker_ppm: i32,
        /// What is bought and sold: a number of the venue's assets.
        base_asset: u32,
        /// What it is paid in.
        quote_asset: u32,
        /// Decimals of prices.
        price_exp: u8,
        /// Decimals of sizes.
        size_exp: u8,
        /// [`BandAction`].
        band_action: u8,
        /// Zero.
        reserved: [u8; 25],
    }
}

/// Account flag: it has its own fee rates.
pub const ACCOUNT_OWN_FEES: u8 = 1;
/// Account flag: it may owe, within its margin.
pub const ACCOUNT_MARGIN: u8 = 2;

plain! {
    /// The head's account from now on.
    AccountBody {
        /// Accounts of one group do not trade with each other; 0 for none.
        group: u32,
        /// Its own rates, with `ACCOUNT_OWN_FEES`.
        maker_ppm: i32,
        /// See `maker_ppm`.
        taker_ppm: i32,
        /// Of a margin account: what of a position's worth it needs to open it, in parts per million.
        initial_margin_ppm: u32,
        /// The same to keep it.
        maintenance_margin_ppm: u32,
        /// `ACCOUNT_*`.
        flags: u8,
        /// Zero.
        reserved: [u8; 67],
    }
}

plain! {
    /// Limits of the head's account for the head's instrument (0: of the account as a whole). 0 is no limit; see `docs/risk.md`.
    LimitsBody {
        /// Largest size of one order; only of an instrument.
        order_size_max: i64,
        /// Largest notional of one order, in quote units of 10^-`price_exp`; only of an instrument.
        order_notional_max: i64,
        /// Largest position, long or short, open orders of that side included; only of an instrument.
        position_max: i64,
        /// Largest worth of all open orders and positions, in quote units of 10^-`price_exp`; of the account as a whole for each
        /// quote asset, in units of 10^-`exposure_exp`.
        exposure_max: i64,
        /// Open orders.
        open_orders_max: u32,
        /// How far from the reference a limit price may be, in parts per million.
        collar_ppm: u32,
        /// Commands a second, and how many at once.
        commands_per_s: u32,
        /// See `commands_per_s`.
        burst: u32,
        /// Decimals of the whole account's `exposure_max`.
        exposure_exp: u8,
        /// Zero.
        reserved: [u8; 39],
    }
}

plain! {
    /// Cash or holdings of the head's account: in, or out below 0.
    TransferBody {
        /// In units of 10^-`amount_exp` of the asset.
        amount: i64,
        /// Which asset.
        asset: u32,
        /// Decimals of `amount`.
        amount_exp: u8,
        /// Zero.
        reserved: [u8; 75],
    }
}

plain! {
    /// Trading of the head's account (0: all) on or off.
    KillBody {
        /// 1: no order any more and all open ones cancelled; 0: trading again.
        killed: u8,
        /// Zero.
        reserved: [u8; 87],
    }
}

const _: () = {
    assert!(size_of::<PlaceBody>() == BODY_SIZE_BYTES && size_of::<PlacePairBody>() == BODY_SIZE_BYTES);
    assert!(size_of::<ReplaceBody>() == BODY_SIZE_BYTES && size_of::<CancelBody>() == BODY_SIZE_BYTES);
    assert!(size_of::<MassCancelBody>() == BODY_SIZE_BYTES && size_of::<CancelAllAfterBody>() == BODY_SIZE_BYTES);
    assert!(size_of::<SessionBody>() == BODY_SIZE_BYTES && size_of::<InstrumentBody>() == BODY_SIZE_BYTES);
    assert!(size_of::<AccountBody>() == BODY_SIZE_BYTES && size_of::<LimitsBody>() == BODY_SIZE_BYTES);
    assert!(size_of::<TransferBody>() == BODY_SIZE_BYTES && size_of::<KillBody>() == BODY_SIZE_BYTES);
};
