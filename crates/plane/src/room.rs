//! How many orders a venue can have room for.
//!
//! Matching takes the memory of all its orders at the start, so that none is taken later. A number that no machine has memory for would end
//! the process when it is taken: it is refused before.

/// Room for more is made on nobody's word.
pub(crate) const ORDERS_MAX: u32 = 1 << 28;
/// Of an order with its terms and its places in the index, rounded up.
const ORDER_SIZE_BYTES: usize = 256;

/// Room that cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "orders_max = {orders_max}: this machine has no {} MiB for it; {} can be had at most, of {} bytes each",
    (*.orders_max as usize * ORDER_SIZE_BYTES) >> 20, .possible, ORDER_SIZE_BYTES
)]
pub struct NoRoom {
    /// What was asked for.
    pub orders_max: u32,
    /// A power of two that can be had now.
    pub possible: u32,
}

/// Whether a venue can be made with room for so many orders.
///
/// # Errors
/// Where it cannot, with what can be had.
pub fn check_room(orders_max: u32) -> Result<(), NoRoom> {
    let can_be_had =
        |max: u32| max <= ORDERS_MAX && Vec::<u8>::new().try_reserve_exact(max as usize * ORDER_SIZE_BYTES).is_ok();
    if can_be_had(orders_max) {
        return Ok(());
    }
    let possible = (0..28).rev().map(|bits| 1 << bits).find(|&max| can_be_had(max)).unwrap_or(0);
    Err(NoRoom { orders_max, possible })
}

#[cfg(test)]
mod tests {
    use super::{ORDERS_MAX, check_room};

    #[test]
    fn room_that_nobody_has_is_refused_with_what_can_be_had() {
        assert_eq!(check_room(1 << 20), Ok(()));
        for orders_max in [ORDERS_MAX + 1, 1 << 30, u32::MAX] {
            let refused = check_room(orders_max).unwrap_err();
            assert_eq!(refused.orders_max, orders_max);
            assert_eq!(check_room(refused.possible), Ok(()));
            assert!(refused.to_string().starts_with(&format!("orders_max = {orders_max}: ")), "{refused}");
        }
    }
}
