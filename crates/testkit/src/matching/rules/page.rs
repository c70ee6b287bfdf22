//! The tables of `docs/matching.md`, read from the page.

use tidebook_types::command::Session;

const PAGE: &str = include_str!("../../../../../docs/matching.md");

/// A table of the page.
#[derive(Debug, Clone)]
pub struct Table {
    /// The section it is in.
    pub section: String,
    /// Its first line.
    pub header: Vec<String>,
    /// The others.
    pub rows: Vec<Vec<String>>,
}

/// All tables, in the order of the page.
pub fn tables() -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let (mut section, mut inside) = ("", false);
    for line in PAGE.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title;
        }
        let Some(cells) = line.strip_prefix('|').and_then(|rest| rest.strip_suffix('|')) else {
            inside = false;
            continue;
        };
        let cells: Vec<String> = cells.split('|').map(|cell| cell.trim().to_owned()).collect();
        if !inside {
            tables.push(Table { section: section.to_owned(), header: cells, rows: Vec::new() });
        } else if !cells[0].starts_with("---") {
            tables.last_mut().expect("a table has begun").rows.push(cells);
        }
        inside = true;
    }
    tables
}

/// The table whose header begins so.
pub(super) fn table(corner: &str) -> Table {
    tables().into_iter().find(|table| table.header[0] == corner).expect("a table of the page")
}

/// The table of this header's second cell, where the corner is empty.
pub(super) fn table_with(column: &str) -> Table {
    tables().into_iter().find(|table| table.header[1] == column).expect("a table of the page")
}

pub(super) fn session(name: &str) -> Session {
    let named = |session: &&Session| session.name().replace('_', "-") == name;
    *Session::ALL.iter().find(named).expect("a session of the page")
}
