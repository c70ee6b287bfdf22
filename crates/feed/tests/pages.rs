//! The pages of `docs/` agree with the code.

use tidebook_feed::{Oracle, StatusKind};
use tidebook_types::Venue;
use tidebook_types::records::SCHEMAS;

fn page(name: &str) -> String {
    let path = format!("{}/../../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// First cells of the rows of every table.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    page.lines().filter_map(|line| {
        let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
        Some(inner.split(" | ").map(str::trim).collect())
    })
}

#[test]
fn the_page_of_records_has_every_status_by_number_and_name() {
    let page = page("formats/records.md");
    let status = page.split("## Status").nth(1).unwrap();
    let told: Vec<_> = rows(status).filter_map(|row| Some((row[0].parse::<u8>().ok()?, row[1].to_owned()))).collect();
    let known: Vec<_> = StatusKind::ALL.iter().map(|kind| (*kind as u8, kind.name().to_owned())).collect();
    assert_eq!(told, known);
    for kind in StatusKind::ALL {
        assert_eq!(StatusKind::from_code(*kind as u8), Some(*kind));
    }
    assert_eq!(StatusKind::from_code(0), None);
}

#[test]
fn the_page_of_records_has_every_venue_by_number_and_name() {
    let page = page("formats/records.md");
    let venues = page.split("## Venues").nth(1).and_then(|rest| rest.split("## Status").next()).unwrap();
    let told: Vec<_> = rows(venues).filter_map(|row| Some((row[0].parse::<u8>().ok()?, row[1].to_owned()))).collect();
    assert_eq!(told, Venue::ALL.map(|venue| (venue as u8, venue.name().to_owned())));
}

#[test]
fn the_page_of_records_has_every_field_and_size() {
    let page = page("formats/records.md");
    for schema in SCHEMAS {
        let row = rows(&page).find(|row| row[0] == schema.name).unwrap_or_else(|| panic!("{}", schema.name));
        assert_eq!(row[1].parse(), Ok(schema.size_bytes), "{}", schema.name);
        let fields: Vec<_> = schema.fields[5..].iter().map(|field| field.name).collect();
        assert_eq!(row[2], fields.join(", "), "{}", schema.name);
    }
}

#[test]
fn the_page_of_feeds_has_every_oracle() {
    let page = page("feeds.md");
    let told: Vec<_> =
        rows(&page).filter(|row| row[0].contains('.')).map(|row| row[0].trim_matches('`').to_owned()).collect();
    assert_eq!(told, Oracle::ALL.map(|oracle| oracle.name().to_owned()));
}
