//! Prints tables, YAML and JSON.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::Value;

/// How to print an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// The API's answer as JSON
    Json,
    /// The API's answer as YAML
    Yaml,
}

/// Most characters of a cell that are shown.
const CELL_MAX: usize = 160;

/// What a cell shows: no control characters, which could move the cursor or forge rows, and not too much.
fn cell(text: &str) -> String {
    let mut shown: String = text.chars().take(CELL_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(CELL_MAX).is_some() {
        shown.push('\u{2026}');
    }
    shown
}

/// Prints columns under their headings, each as wide as it needs.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|text| cell(text)).collect()).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut out = io::stdout().lock();
    let heading: Vec<String> = headings.iter().map(|text| (*text).to_owned()).collect();
    for row in std::iter::once(&heading).chain(&rows) {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// Prints an answer as JSON.
pub(crate) fn json(value: &Value) -> io::Result<()> {
    writeln!(io::stdout(), "{value:#}")
}

/// Prints an answer as YAML.
pub(crate) fn yaml(value: &Value) -> io::Result<()> {
    let text = serde_saphyr::to_string(value).map_err(io::Error::other)?;
    write!(io::stdout(), "{text}")
}

/// A text at a path of keys, or a dash.
pub(crate) fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g09_a_cell_neither_moves_the_cursor_nor_fills_the_screen() {
        assert_eq!(cell("two\nrows \u{1b}[2J"), "two\u{fffd}rows \u{fffd}[2J");
        assert_eq!(cell(&"x".repeat(70_000)).chars().count(), CELL_MAX + 1);
        assert_eq!(cell("日本語"), "日本語");
    }
}
