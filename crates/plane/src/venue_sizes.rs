//! What a venue has room for: said once, when its journal begins, and kept there.
//!
//! An order that finds no room is refused, so how much room there is decides what followed, and a replay needs the same. The
//! configuration that the journal of `orders` begins with has it; whoever opens the venue again, or replays it, takes it from there.

use std::path::Path;

use tidebook_journal::{JournalError, configurations};
use tidebook_risk::RiskOptions;
use tidebook_venue::VenueOptions;

/// Room of risk and of matching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VenueSizes {
    /// Of risk.
    pub risk: RiskOptions,
    /// Of matching.
    pub venue: VenueOptions,
}

impl VenueSizes {
    /// Those that the journal of `orders` in this directory was begun with; `None` when there is none yet, or it does not say.
    ///
    /// # Errors
    /// [`JournalError`] of a journal that cannot be read.
    pub fn of_journal(journal_dir: &Path) -> Result<Option<Self>, JournalError> {
        match configurations(journal_dir) {
            Ok(changes) => {
                Ok(changes.iter().find_map(|change| change.configuration.as_deref().and_then(Self::of_configuration)))
            }
            Err(JournalError::Absent { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As JSON, for the journal.
    pub(crate) fn text(&self) -> String {
        let RiskOptions { orders_max, accounts_max, instruments_max, ended_ids_max } = self.risk;
        let risk = format!(
            r#"{{"orders_max":{orders_max},"accounts_max":{accounts_max},"instruments_max":{instruments_max},"ended_ids_max":{ended_ids_max}}}"#
        );
        let VenueOptions { orders_max, instruments_max, accounts_max } = self.venue;
        format!(
            r#"{{"risk":{risk},"matching":{{"orders_max":{orders_max},"accounts_max":{accounts_max},"instruments_max":{instruments_max}}}}}"#
        )
    }

    fn of_configuration(text: &str) -> Option<Self> {
        let (_, options) = text.rsplit_once(r#""options":{"risk":{"#)?;
        let (risk, rest) = options.split_once('}')?;
        let matching = rest.strip_prefix(r#","matching":{"#)?.split('}').next()?;
        let number = |of: &str, name: &str| {
            let (_, from) = of.split_once(&format!(r#""{name}":"#))?;
            from.split(',').next()?.parse().ok()
        };
        Some(Self {
            risk: RiskOptions {
                orders_max: number(risk, "orders_max")?,
                accounts_max: number(risk, "accounts_max")?,
                instruments_max: number(risk, "instruments_max")?,
                ended_ids_max: number(risk, "ended_ids_max")?,
            },
            venue: VenueOptions {
                orders_max: number(matching, "orders_max")?,
                accounts_max: number(matching, "accounts_max")?,
                instruments_max: number(matching, "instruments_max")?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_back_from_the_text_of_a_journal_and_from_no_other() {
        let sizes = VenueSizes {
            risk: RiskOptions { orders_max: 1, accounts_max: 2, instruments_max: 3, ended_ids_max: 4 },
            venue: VenueOptions { orders_max: 5, accounts_max: 6, instruments_max: 7 },
        };
        let text = format!(r#"{{"sync":"group","ring":{{"count":8}},"options":{}}}"#, sizes.text());
        assert_eq!(VenueSizes::of_configuration(&text), Some(sizes));
        for other in [r#"{"sync":"group"}"#, r#"{"options":{"risk":{}}}"#, ""] {
            assert_eq!(VenueSizes::of_configuration(other), None, "{other}");
        }
    }
}
