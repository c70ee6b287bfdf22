//! What a venue has room for: said once, when its journal begins, and kept there.
//!
//! An order that finds no room is refused, so how much room there is decides what followed, and a replay needs the same. The
//! configuration that the journal of `orders` begins with has it; whoever opens the venue again, or replays it, takes it from there.

use std::path::{Path, PathBuf};

use serde_json::Value;
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

/// Why a journal does not say what room its venue has.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VenueSizesError {
    /// It cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It says something else than this release knows. Another room would give other verdicts, so none is guessed.
    #[error(
        "{}: its configuration from message {first_sequence} on does not say what room the venue has: {reason}; start the release that \
         wrote it, or begin in a new data directory", .journal.display()
    )]
    Unknown {
        /// The journal's directory.
        journal: PathBuf,
        /// First message under the configuration.
        first_sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl VenueSizes {
    /// Those that the journal of `orders` in this directory was begun with; `None` when there is none yet, or none was written down.
    ///
    /// # Errors
    /// [`VenueSizesError`] of a journal that cannot be read, or says something else.
    pub fn of_journal(journal_dir: &Path) -> Result<Option<Self>, VenueSizesError> {
        let changes = match configurations(journal_dir) {
            Ok(changes) => changes,
            Err(JournalError::Absent { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        for change in changes {
            let Some(text) = change.configuration else { continue };
            let sizes = Self::of_configuration(&text).map_err(|reason| VenueSizesError::Unknown {
                journal: journal_dir.to_owned(),
                first_sequence: change.first_sequence,
                reason,
            })?;
            if sizes.is_some() {
                return Ok(sizes);
            }
        }
        Ok(None)
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

    /// `None` where a channel's configuration has no options, as of a channel that no venue opened.
    fn of_configuration(text: &str) -> Result<Option<Self>, String> {
        let found: Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON ({error})"))?;
        let Some(options) = found.get("options") else { return Ok(None) };
        let number = |part: &str, name: &str| {
            let found = options.get(part).and_then(|part| part.get(name));
            let number = found.and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
            number.ok_or_else(|| {
                let found = found.map_or_else(|| "nothing".to_owned(), ToString::to_string);
                format!("options.{part}.{name} has to be a number below 2^32, and is {found}")
            })
        };
        Ok(Some(Self {
            risk: RiskOptions {
                orders_max: number("risk", "orders_max")?,
                accounts_max: number("risk", "accounts_max")?,
                instruments_max: number("risk", "instruments_max")?,
                ended_ids_max: number("risk", "ended_ids_max")?,
            },
            venue: VenueOptions {
                orders_max: number("matching", "orders_max")?,
                accounts_max: number("matching", "accounts_max")?,
                instruments_max: number("matching", "instruments_max")?,
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: VenueSizes = VenueSizes {
        risk: RiskOptions { orders_max: 1, accounts_max: 2, instruments_max: 3, ended_ids_max: 4 },
        venue: VenueOptions { orders_max: 5, accounts_max: 6, instruments_max: 7 },
    };

    #[test]
    fn sizes_come_back_from_the_text_of_a_journal_whatever_its_order_and_spaces() {
        let text = format!(r#"{{"sync":"group","ring":{{"count":8}},"options":{}}}"#, SIZES.text());
        assert_eq!(VenueSizes::of_configuration(&text), Ok(Some(SIZES)));
        let other = r#"{ "options": {"matching": {"accounts_max": 6, "instruments_max": 7, "orders_max": 5},
            "risk": {"ended_ids_max": 4, "instruments_max": 3, "accounts_max": 2, "orders_max": 1}}, "ring": {} }"#;
        assert_eq!(VenueSizes::of_configuration(other), Ok(Some(SIZES)));
    }

    #[test]
    fn a_configuration_that_says_something_else_is_an_error_and_one_without_options_says_nothing() {
        assert_eq!(VenueSizes::of_configuration(r#"{"sync":"group"}"#), Ok(None));
        let whole = format!(r#"{{"options":{}}}"#, SIZES.text());
        for (text, reason) in [
            (String::new(), "it is no JSON"),
            (whole.replace("}}}", "}}"), "it is no JSON"),
            (
                r#"{"options":{"risk":{}}}"#.to_owned(),
                "options.risk.orders_max has to be a number below 2^32, and is nothing",
            ),
            (
                whole.replace(r#""orders_max":5"#, r#""orders_max":"5""#),
                r#"options.matching.orders_max has to be a number below 2^32, and is "5""#,
            ),
            (
                whole.replace(r#""ended_ids_max":4"#, r#""ended_ids_max":4294967296"#),
                "options.risk.ended_ids_max has to be a number below 2^32, and is 4294967296",
            ),
        ] {
            let found = VenueSizes::of_configuration(&text).unwrap_err();
            assert!(found.starts_with(reason), "{text}: {found}");
        }
    }
}
