//! The ids that clients gave their orders: open ones all, ended ones as many as are remembered of each account.
//!
//! Each account forgets its own oldest only, so that nobody can make the venue forget another's.

use tidebook_types::ClientOrderId;

use crate::plain::{Input, PlainError, mix, plain};
use crate::table::{Entry, NONE, Table};

/// One id of one account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientId {
    account: u32,
    id: [u8; 16],
    pub(crate) order_id: u64,
    /// When it was taken, or, once ended, when that was: one counter for both.
    number: u64,
    ended: bool,
    /// The same order's next id; of an ended one the account's next to be forgotten.
    next: u32,
}

impl Default for ClientId {
    fn default() -> Self {
        Self { account: 0, id: [0; 16], order_id: 0, number: 0, ended: false, next: NONE }
    }
}

plain!(ClientId { account, id, order_id, number, ended });

impl Entry for ClientId {
    type Key = (u32, [u8; 16]);
    const SALT: u64 = 5;
    fn key(&self) -> Self::Key {
        (self.account, self.id)
    }
}

/// An account's ended ids, the one to be forgotten first in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    first: u32,
    last: u32,
    count: u32,
}

impl Default for Ended {
    fn default() -> Self {
        Self { first: NONE, last: NONE, count: 0 }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ClientIds {
    table: Table<ClientId>,
    /// Given next.
    number: u64,
    ended_max: u32,
}

impl ClientIds {
    pub(crate) fn new(capacity: usize, ended_max: u32) -> Self {
        Self { table: Table::with_capacity(capacity), number: 1, ended_max }
    }

    /// The order that has or had it.
    pub(crate) fn order_of(&self, account: u32, id: [u8; 16]) -> Option<u64> {
        ClientOrderId(id).is_some().then(|| self.table.by_key((account, id))).flatten().map(|found| found.order_id)
    }

    /// Takes an id for an order; `first` is the order's chain of ids, and the return value its new one.
    pub(crate) fn take(&mut self, account: u32, id: [u8; 16], order_id: u64, first: u32) -> u32 {
        if !ClientOrderId(id).is_some() || self.table.find((account, id)).is_some() {
            return first;
        }
        let number = self.next_number();
        self.table.insert(ClientId { account, id, order_id, number, ended: false, next: first })
    }

    const fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number - 1
    }

    /// All ids of an order that has ended: the chain beginning with `first`.
    pub(crate) fn end(&mut self, mut first: u32, ended: &mut Ended) {
        while first != NONE {
            let number = self.next_number();
            let id = self.table.get_mut(first);
            let next = std::mem::replace(&mut id.next, NONE);
            (id.number, id.ended) = (number, true);
            self.remember(first, ended);
            first = next;
        }
    }

    fn remember(&mut self, slot: u32, ended: &mut Ended) {
        if ended.count == 0 {
            ended.first = slot;
        } else {
            self.table.get_mut(ended.last).next = slot;
        }
        ended.last = slot;
        ended.count += 1;
        while ended.count > self.ended_max {
            let oldest = self.table.remove(ended.first);
            ended.first = oldest.next;
            ended.count -= 1;
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.table.hash().wrapping_add(mix(6, self.number))
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        crate::plain::Plain::save(&self.number, out);
        self.table.save(out);
    }

    /// `open` takes an order's chain and gives the old one, or `None` where no such order is open; `ended` is an account's list.
    pub(crate) fn load(
        &mut self,
        input: &mut Input<'_>,
        mut open: impl FnMut(u64, Option<u32>) -> Option<u32>,
        mut ended: impl FnMut(u32, Option<Ended>) -> Option<Ended>,
    ) -> Result<(), PlainError> {
        self.number = crate::plain::Plain::load(input)?;
        self.table.load(input)?;
        let mut slots: Vec<u32> = self.table.iter().map(|(slot, _)| slot).collect();
        slots.sort_unstable_by_key(|&slot| self.table.get(slot).number);
        for pair in slots.windows(2) {
            if self.table.get(pair[0]).number == self.table.get(pair[1]).number {
                return Err(input.error("two ids of one number"));
            }
        }
        if slots.last().is_some_and(|&slot| self.table.get(slot).number >= self.number) || self.number > u64::MAX / 2 {
            return Err(input.error("a number that was not given yet"));
        }
        for slot in slots {
            let id = *self.table.get(slot);
            if id.ended {
                let mut list = ended(id.account, None).ok_or_else(|| input.error("an id of no account"))?;
                if list.count >= self.ended_max {
                    return Err(input.error("more ended ids than are remembered"));
                }
                self.remember(slot, &mut list);
                ended(id.account, Some(list));
            } else {
                let first = open(id.order_id, None).ok_or_else(|| input.error("an open id of no order"))?;
                self.table.get_mut(slot).next = first;
                open(id.order_id, Some(slot));
            }
        }
        Ok(())
    }
}
