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

/// Which side of its column a cell keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Texts.
    Left,
    /// Numbers, so that their digits stand below each other.
    Right,
}

/// Columns under their headings, each as wide as it needs.
pub(crate) fn columns<H: AsRef<str>>(headings: &[(H, Align)], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|text| cell(text)).collect()).collect();
    let heading: Vec<String> = headings.iter().map(|(text, _)| cell(text.as_ref())).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&heading).chain(&rows).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    for row in all {
        let cells = row.iter().zip(&widths).zip(headings).map(|((cell, &width), (_, align))| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        let cells: Vec<String> = cells.collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Prints columns of texts.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let headings: Vec<(&str, Align)> = headings.iter().map(|text| (*text, Align::Left)).collect();
    io::stdout().lock().write_all(columns(&headings, rows).as_bytes())
}

/// Prints an answer as JSON.
pub(crate) fn json(value: &Value) -> io::Result<()> {
    write!(io::stdout(), "{}", json_text(value))
}

/// An answer as JSON.
pub(crate) fn json_text(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Prints an answer as YAML.
pub(crate) fn yaml(value: &Value) -> io::Result<()> {
    write!(io::stdout(), "{}", yaml_text(value)?)
}

/// An answer as YAML.
pub(crate) fn yaml_text(value: &Value) -> io::Result<String> {
    serde_saphyr::to_string(value).map_err(io::Error::other)
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
