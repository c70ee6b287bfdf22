//! What the instruments of the node's own venue are called: the file that the gateway keeps, as far as market data needs it.
//!
//! Commands carry numbers. The gateway has a name on disk before it sends the first command with its number
//! (`python/tidebook/gateway/names.py`), so who has read that command finds the name there.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use serde_json::Value;
use tidebook_types::Venue;

use crate::error::PlaneError;

/// Symbols of instruments by number, without the venue that their names end with; none where there is no file.
///
/// # Errors
/// [`PlaneError::VenueNames`] for a file that cannot be read or is none of names.
pub(crate) fn instrument_names(path: &Path) -> Result<HashMap<u32, String>, PlaneError> {
    let refused = |reason: String| PlaneError::VenueNames { path: path.to_owned(), reason };
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(refused(error.to_string())),
    };
    let content: Value = serde_json::from_slice(&text).map_err(|error| refused(error.to_string()))?;
    let instruments = content.get("instruments").and_then(Value::as_object);
    let instruments = instruments.ok_or_else(|| refused("it names no instruments".to_owned()))?;
    let mut names = HashMap::new();
    for (name, instrument) in instruments {
        let number = instrument.get("number").and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
        let symbol = name
            .rsplit_once('.')
            .map(|(symbol, _)| symbol)
            .filter(|&symbol| Venue::Local.instrument_name(symbol) == *name);
        let (Some(number), Some(symbol)) = (number, symbol) else {
            return Err(refused(format!("{name:?} is no instrument of this venue with its number")));
        };
        names.insert(number, symbol.to_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_by_number_and_a_file_that_has_none_is_refused_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("names.json");
        assert!(instrument_names(&path).unwrap().is_empty());
        let text = r#"{"format": "tidebook-venue-names", "version": 1, "assets": {"BTC": 1, "USD": 2}, "accounts": {},
            "instruments": {"BTC-USD.LOCAL": {"number": 7, "base": "BTC", "quote": "USD"}}}"#;
        std::fs::write(&path, text).unwrap();
        assert_eq!(instrument_names(&path).unwrap(), HashMap::from([(7, "BTC-USD".to_owned())]));
        for wrong in
            ["{", "[]", r#"{"instruments": {"BTC-USD.KRAKEN": {"number": 7}}}"#, r#"{"instruments": {"A.LOCAL": {}}}"#]
        {
            std::fs::write(&path, wrong).unwrap();
            let error = instrument_names(&path).unwrap_err().to_string();
            assert!(error.contains("names.json"), "{error}");
        }
    }
}
