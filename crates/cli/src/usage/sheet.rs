//! Rows in typed columns, for programs: as CSV here, as Parquet next door.

use homerun_api::usage::{Focus, FocusKind, Report};

use crate::client::CliError;

/// What a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// A decimal number with a point.
    Decimal,
    /// `YYYY-MM-DD`.
    Day,
    /// A moment in UTC, RFC 3339; the seconds may be left out.
    Time,
    /// One JSON object.
    Json,
}

/// A table without any layout.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sheet {
    pub(super) columns: Vec<(String, Kind)>,
    /// A value or nothing for each column.
    pub(super) rows: Vec<Vec<Option<String>>>,
}

impl Sheet {
    /// A row for each item of a report's lines. Credits are for all lines together, so they are not among them.
    pub(super) fn of_report(report: &Report) -> Self {
        let by_sku = report.by.iter().any(|dimension| dimension == "sku");
        let mut columns: Vec<(String, Kind)> = report.by.iter().map(|by| (by.clone(), kind(by))).collect();
        if !by_sku {
            columns.push(("sku".to_owned(), Kind::Text));
        }
        let rest = [("quantity", Kind::Decimal), ("unit", Kind::Text), ("price", Kind::Decimal)];
        let cost = [("cost", Kind::Decimal), ("currency", Kind::Text)];
        columns.extend(rest.into_iter().chain(cost).map(|(name, kind)| (name.to_owned(), kind)));
        let mut rows = Vec::new();
        for line in &report.lines {
            for item in &line.items {
                let mut row: Vec<Option<String>> = line.key.iter().map(|value| filled(value)).collect();
                row.extend((!by_sku).then(|| filled(&item.sku)));
                row.extend([filled(&item.quantity), filled(&item.unit), item.price.clone()]);
                row.extend([filled(&item.cost), filled(&report.currency)]);
                rows.push(row);
            }
        }
        Self { columns, rows }
    }

    /// The rows and columns of the FinOps Open Cost and Usage Specification, as the server has them.
    pub(super) fn of_focus(focus: Focus) -> Result<Self, CliError> {
        as_many_as(focus.columns.len(), focus.rows.iter().map(Vec::len))?;
        let kind = |kind| match kind {
            FocusKind::String => Kind::Text,
            FocusKind::Decimal => Kind::Decimal,
            FocusKind::Datetime => Kind::Time,
            FocusKind::Json => Kind::Json,
        };
        let columns = focus.columns.into_iter().map(|column| (column.name, kind(column.kind))).collect();
        Ok(Self { columns, rows: focus.rows })
    }

    /// As CSV (RFC 4180) with a heading; nothing is an empty field.
    pub(super) fn csv(&self) -> Result<Vec<u8>, csv::Error> {
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
        writer.write_record(self.columns.iter().map(|(name, _)| harmless(name)))?;
        for row in &self.rows {
            let cells = row.iter().zip(&self.columns).map(|(value, (_, kind))| match (value, kind) {
                (None, _) => String::new(),
                (Some(text), Kind::Text) => harmless(text),
                (Some(text), _) => text.clone(),
            });
            writer.write_record(cells)?;
        }
        writer.into_inner().map_err(|error| error.into_error().into())
    }
}

/// Checks that every row of an answer has a value for each column.
pub(super) fn as_many_as(columns: usize, mut rows: impl Iterator<Item = usize>) -> Result<(), CliError> {
    match rows.find(|values| *values != columns) {
        Some(values) => {
            Err(CliError::Answer(serde::de::Error::custom(format!("{values} values in {columns} columns"))))
        }
        None => Ok(()),
    }
}

fn kind(dimension: &str) -> Kind {
    match dimension {
        "day" => Kind::Day,
        "hour" => Kind::Time,
        _ => Kind::Text,
    }
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A text that no spreadsheet takes for a formula.
///
/// Whoever deploys chooses labels, and whoever opens the bill may be somebody else: a label `=HYPERLINK(...)` would run
/// with the reader's rights. Quoting does not help, since spreadsheets look below the quotes, so such a text gets an
/// apostrophe before it, which spreadsheets take for "this is text". Names and labels as Cloud Run allows them have no
/// character that a formula needs: they stay as they are even with a hyphen in front, and so can be joined with others.
/// JSON and Parquet have all texts unchanged.
fn harmless(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_".contains(c);
    let suspect = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) && !text.chars().all(plain);
    if suspect { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::examples;

    fn csv(sheet: &Sheet) -> String {
        String::from_utf8(sheet.csv().expect("CSV")).expect("UTF-8")
    }

    #[test]
    fn b05_csv_has_a_row_for_each_item_with_exact_numbers() {
        let sheet = Sheet::of_report(&examples::by(&["service", "label:team"]));
        assert_eq!(
            csv(&sheet),
            "service,label:team,sku,quantity,unit,price,cost,currency\r\n\
             ocr,ml,cpu-instance,14400.1,vCPU-second,0.000018,0.2592018,USD\r\n\
             ocr,ml,gpu/nvidia-l4,3600,GPU-second,0.0001867,0.67212,USD\r\n\
             hello,,cpu-request,2.5,vCPU-second,0.000024,0.00006,USD\r\n\
             hello,,requests,12,request,,0,USD\r\n"
        );
    }

    #[test]
    fn b05_a_sku_that_lines_are_made_by_has_one_column() {
        let sheet = Sheet::of_report(&examples::by_sku());
        let header = csv(&sheet).lines().next().map(str::to_owned);
        assert_eq!(header.as_deref(), Some("sku,quantity,unit,price,cost,currency"));
    }

    #[test]
    fn b05_a_label_cannot_be_a_formula_in_a_spreadsheet() {
        for text in ["=1+1", "+1*2", "@SUM(A1)", "-2+3", "\t=1", "\r=1", "-cmd|' /c calc'!A1", "="] {
            assert_eq!(harmless(text), format!("'{text}"));
        }
        for text in ["ml", "-5", "-team_a", "a=b", "日本", "", "{\"a\":1}"] {
            assert_eq!(harmless(text), text);
        }
    }

    #[test]
    fn b05_texts_with_commas_quotes_and_lines_are_quoted() {
        let columns = vec![("a".to_owned(), Kind::Text), ("b".to_owned(), Kind::Json), ("c".to_owned(), Kind::Decimal)];
        let row = vec![Some("x, y\nz".to_owned()), Some(r#"{"team":"ml"}"#.to_owned()), Some("-1.5".to_owned())];
        let sheet = Sheet { columns, rows: vec![row, vec![None, None, None]] };
        assert_eq!(csv(&sheet), "a,b,c\r\n\"x, y\nz\",\"{\"\"team\"\":\"\"ml\"\"}\",-1.5\r\n,,\r\n");
    }
}
