//! A report for people: rounded, with bars where lines are made by time.

use std::fmt::Write;

use chrono::{DateTime, SecondsFormat, Utc};
use homerun_api::usage::{Item, Line, Report};

use crate::client::CliError;
use crate::decimal::{Decimal, Money, bar};
use crate::output::{Align, columns};

/// Width of the longest bar in characters.
const BAR: usize = 30;
/// Seconds of an hour.
const HOUR: u32 = 3600;

/// The report.
pub(super) fn report(report: &Report) -> Result<String, CliError> {
    let mut text = String::new();
    if report.lines.is_empty() {
        let (from, to) = (time(report.from), time(report.to));
        text = format!(
            "Nothing was used from {from} to {to}. Try an earlier time, for instance --from last-month, \
             or fewer of --service, --region and --project.\n"
        );
    } else {
        let (from, to, list) = (time(report.from), time(report.to), &report.price_list);
        // Writing into a text cannot fail.
        let _ = writeln!(text, "{from} to {to}, prices: {list}\n");
        let rows = if report.by.iter().any(|by| by == "sku") { items(report)? } else { lines(report)? };
        text += &columns(&rows.headings, &rows.rows);
    }
    if !report.credits.is_empty() {
        text += &credits(report)?;
    }
    let separator = if report.notes.is_empty() { "" } else { "\n" };
    text += separator;
    for note in &report.notes {
        let _ = writeln!(text, "! {note}");
    }
    Ok(text)
}

struct Rows {
    headings: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

/// A row for each line and one for all of them.
fn lines(report: &Report) -> Result<Rows, CliError> {
    let costs = numbers(report.lines.iter().map(|line| line.cost.as_str()))?;
    let always = report.lines.iter().map(|line| line.always_on.as_deref().map(Decimal::of).transpose());
    let always: Vec<Option<Decimal>> = always.collect::<Result<_, _>>()?;
    let all_always = report.always_on.as_deref().map(Decimal::of).transpose()?;
    let shows_always = all_always.is_some() || always.iter().any(Option::is_some);
    let money = Money::like(costs.iter().chain(always.iter().flatten()).copied());
    let mut headings = keys(report);
    headings.extend(["STARTS", "REQUESTS", "GPU-H", "VCPU-H", "GIB-H"].map(|name| (name.to_owned(), Align::Right)));
    headings.push((format!("COST ({})", report.currency), Align::Right));
    if shows_always {
        headings.extend(["ALWAYS ON", "SAVED"].map(|name| (name.to_owned(), Align::Right)));
    }
    let bars = Bars::of(report, &costs);
    headings.extend(bars.heading());
    let row = |line: &Line, cost: Decimal, always: Option<Decimal>| -> Result<Vec<String>, CliError> {
        let mut row: Vec<String> = line.key.iter().map(|value| or_dash(value)).collect();
        row.extend([count(line.starts), count(line.requests)]);
        for unit in ["GPU-second", "vCPU-second", "GiB-second"] {
            row.push(hours(&[line], unit)?);
        }
        row.push(money.show(cost));
        row.extend(saved(shows_always, &money, cost, always));
        row.extend(bars.cell(cost));
        Ok(row)
    };
    let mut rows = Vec::with_capacity(report.lines.len() + 1);
    for ((line, cost), always) in report.lines.iter().zip(&costs).zip(&always) {
        rows.push(row(line, *cost, *always)?);
    }
    rows.push(total(report, costs.into_iter().sum(), |cost| saved(shows_always, &money, cost, all_always), &money)?);
    bars.fill(&mut rows);
    Ok(Rows { headings, rows })
}

/// The row for all lines. Its cost is theirs; what is free comes below.
fn total(
    report: &Report,
    cost: Decimal,
    saved: impl Fn(Decimal) -> Vec<String>,
    money: &Money,
) -> Result<Vec<String>, CliError> {
    let lines: Vec<&Line> = report.lines.iter().collect();
    let mut row = total_keys(report.by.len());
    let sum = |of: fn(&Line) -> Option<u64>| count(report.lines.iter().map(of).sum());
    row.extend([sum(|line| line.starts), sum(|line| line.requests)]);
    for unit in ["GPU-second", "vCPU-second", "GiB-second"] {
        row.push(hours(&lines, unit)?);
    }
    row.push(money.show(cost));
    row.extend(saved(cost));
    Ok(row)
}

/// A row for each item of each line, and one for all of them.
fn items(report: &Report) -> Result<Rows, CliError> {
    let items: Vec<(&Line, &Item)> =
        report.lines.iter().flat_map(|line| line.items.iter().map(move |item| (line, item))).collect();
    let costs = numbers(items.iter().map(|(_, item)| item.cost.as_str()))?;
    let money = Money::like(costs.iter().copied());
    let mut headings = keys(report);
    headings.extend([
        ("QUANTITY".to_owned(), Align::Right),
        ("UNIT".to_owned(), Align::Left),
        ("PRICE".to_owned(), Align::Right),
        (format!("COST ({})", report.currency), Align::Right),
    ]);
    let bars = Bars::of(report, &costs);
    headings.extend(bars.heading());
    let mut rows: Vec<Vec<String>> = Vec::with_capacity(items.len() + 1);
    for ((line, item), cost) in items.iter().zip(&costs) {
        let mut row: Vec<String> = line.key.iter().map(|value| or_dash(value)).collect();
        row.extend([item.quantity.clone(), item.unit.clone()]);
        row.extend([item.price.clone().unwrap_or_else(|| "none".to_owned()), money.show(*cost)]);
        row.extend(bars.cell(*cost));
        rows.push(row);
    }
    let mut all = total_keys(report.by.len());
    all.extend(["", "", ""].map(str::to_owned));
    all.push(money.show(costs.into_iter().sum()));
    rows.push(all);
    bars.fill(&mut rows);
    Ok(Rows { headings, rows })
}

/// Bars beside the costs where lines follow each other in time.
struct Bars {
    longest: Option<Decimal>,
}

impl Bars {
    fn of(report: &Report, costs: &[Decimal]) -> Self {
        let by_time = report.by.last().is_some_and(|by| by == "day" || by == "hour");
        Self { longest: costs.iter().max().copied().filter(|_| by_time) }
    }

    fn heading(&self) -> Option<(String, Align)> {
        self.longest.map(|_| (String::new(), Align::Left))
    }

    fn cell(&self, cost: Decimal) -> Option<String> {
        self.longest.map(|longest| bar(cost, longest, BAR))
    }

    /// The row for all lines has no bar.
    fn fill(&self, rows: &mut [Vec<String>]) {
        if let Some(last) = rows.last_mut().filter(|_| self.longest.is_some()) {
            last.push(String::new());
        }
    }
}

fn keys(report: &Report) -> Vec<(String, Align)> {
    report.by.iter().map(|by| (by.to_uppercase(), Align::Left)).collect()
}

fn total_keys(count: usize) -> Vec<String> {
    (0..count).map(|index| if index == 0 { "TOTAL".to_owned() } else { String::new() }).collect()
}

/// What always-on would have cost, and which part of it was not spent, where the report has it.
fn saved(shows: bool, money: &Money, cost: Decimal, always: Option<Decimal>) -> Vec<String> {
    if !shows {
        return Vec::new();
    }
    let part = always.and_then(|always| (always - cost).thousandths_of(always));
    let percent = part.map_or("-".to_owned(), |part| format!("{} %", tenths(part)));
    vec![always.map_or("-".to_owned(), |always| money.show(always)), percent]
}

/// Thousandths as percent.
fn tenths(thousandths: i128) -> String {
    let sign = if thousandths < 0 { "-" } else { "" };
    format!("{sign}{}.{}", thousandths.abs() / 10, thousandths.abs() % 10)
}

fn credits(report: &Report) -> Result<String, CliError> {
    let worth = numbers(report.credits.iter().map(|credit| credit.cost.as_str()))?;
    let cost = Decimal::of(&report.cost)?;
    let money = Money::like(worth.iter().copied());
    let rows = report.credits.iter().zip(worth).map(|(credit, worth)| {
        vec![credit.month.clone(), credit.sku.clone(), credit.quantity.clone(), credit.unit.clone(), money.show(worth)]
    });
    let headings = [
        ("FREE IN", Align::Left),
        ("SKU", Align::Left),
        ("QUANTITY", Align::Right),
        ("UNIT", Align::Left),
        (&format!("COST ({})", report.currency), Align::Right),
    ];
    let table = columns(&headings, &rows.collect::<Vec<_>>());
    let shown = Money::like([cost].into_iter()).show(cost);
    Ok(format!("\n{table}\nAfter free usage: {shown} {}\n", report.currency))
}

/// Hours of a unit that all items of the lines have together.
fn hours(lines: &[&Line], unit: &str) -> Result<String, CliError> {
    let items = lines.iter().flat_map(|line| &line.items).filter(|item| item.unit == unit);
    let seconds: Decimal = numbers(items.map(|item| item.quantity.as_str()))?.into_iter().sum();
    Ok(seconds.divided(HOUR).shown(3))
}

fn numbers<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<Decimal>, CliError> {
    texts.map(Decimal::of).collect()
}

fn count(number: Option<u64>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::examples;

    fn shown(shown: &Report) -> String {
        report(shown).expect("a table")
    }

    #[test]
    fn b05_a_report_shows_hours_cost_and_what_zero_saved() {
        assert_eq!(
            shown(&examples::by(&["service", "label:team"])),
            "\
2026-11-01T00:00:00Z to 2026-11-26T10:00:00Z, prices: Example prices

SERVICE  LABEL:TEAM  STARTS  REQUESTS  GPU-H  VCPU-H  GIB-H  COST (USD)  ALWAYS ON    SAVED
ocr      ml               3       120  1.000   4.000  0.000    0.931322  93.132180   99.0 %
hello    -                1        12  0.000   0.001  0.000    0.000060   0.000050  -20.0 %
TOTAL                     4       132  1.000   4.001  0.000    0.931382  93.132230   98.9 %

! requests have no price in us-central1
"
        );
    }

    #[test]
    fn b05_skus_show_quantity_unit_and_price() {
        assert_eq!(
            shown(&examples::by_sku()),
            "\
2026-11-01T00:00:00Z to 2026-11-26T10:00:00Z, prices: Example prices

SKU           QUANTITY  UNIT            PRICE  COST (USD)
cpu-instance   14400.1  vCPU-second  0.000018        0.26
requests            12  request          none        0.00
TOTAL                                                0.26
"
        );
    }

    #[test]
    fn b05_days_have_bars_to_scale() {
        assert_eq!(
            shown(&examples::by_day()),
            "\
2026-11-01T00:00:00Z to 2026-11-26T10:00:00Z, prices: Example prices

DAY         STARTS  REQUESTS  GPU-H  VCPU-H  GIB-H  COST (USD)
2026-11-24       1         7  2.000   0.000  0.000      1.3442  ██████████████████████████████
2026-11-25       1         7  0.500   0.000  0.000      0.3361  ███████▌
2026-11-26       1         7  0.003   0.000  0.000      0.0019  ▏
TOTAL            3        21  2.503   0.000  0.000      1.6822
"
        );
    }

    #[test]
    fn b05_free_usage_stands_below_and_is_taken_off() {
        let text = shown(&examples::with_credits());
        assert_eq!(
            text.split_once("TOTAL").map_or("", |(_, below)| below),
            "                                                0.26

FREE IN  SKU           QUANTITY  UNIT         COST (USD)
2026-11  cpu-instance     14000  vCPU-second   -0.252000
2026-11  cpu-request        0.5  vCPU-second   -0.000012

After free usage: 0.0072 USD
"
        );
    }

    #[test]
    fn b05_an_empty_report_says_so_and_what_to_try() {
        assert_eq!(
            shown(&examples::empty()),
            "Nothing was used from 2026-11-01T00:00:00Z to 2026-11-26T10:00:00Z. Try an earlier time, for instance \
             --from last-month, or fewer of --service, --region and --project.\n"
        );
    }

    #[test]
    fn b05_a_number_that_is_none_is_named() {
        let mut wrong = examples::by_sku();
        wrong.lines[0].items[0].cost = "much".to_owned();
        let error = report(&wrong).expect_err("no number").to_string();
        assert!(error.contains("'much' is no number"), "{error}");
    }
}
