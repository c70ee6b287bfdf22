//! Venue bytes in, canonical records out.

pub mod capture;
pub mod scan;
