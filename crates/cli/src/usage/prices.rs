//! `homerun usage prices`: the price list.

use std::fmt::Write;

use clap::Args;
use reqwest::Method;
use serde::Deserialize;

use crate::client::{CliError, Client};
use crate::output::{self, Align, Format, columns};

/// Most regions of a price that are named.
const NAMED: usize = 2;

/// Flags of `homerun usage prices`.
#[derive(Debug, Args)]
pub struct PricesArgs {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// The list as the server has it.
#[derive(Debug, Deserialize)]
struct PriceList {
    #[serde(default)]
    title: String,
    currency: String,
    #[serde(default)]
    price: Vec<Price>,
    #[serde(default)]
    free: Vec<Free>,
}

/// What a unit costs in some regions from a day on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Price {
    sku: String,
    from: String,
    regions: Vec<String>,
    price: String,
}

/// What is free in each month.
#[derive(Debug, Deserialize)]
struct Free {
    sku: String,
    units: u64,
    price: String,
}

pub(super) async fn run(client: &Client, args: &PricesArgs) -> Result<(), CliError> {
    let answer = client.call(Method::GET, "/homerun/v1/prices", None).await?;
    match args.format {
        Format::Json => output::json(&answer)?,
        Format::Yaml => output::yaml(&answer)?,
        Format::Table => {
            let list = serde_json::from_value(answer).map_err(CliError::Answer)?;
            std::io::Write::write_all(&mut std::io::stdout(), table(list).as_bytes())?;
        }
    }
    Ok(())
}

fn table(list: PriceList) -> String {
    let mut text = if list.title.is_empty() { String::new() } else { format!("{}\n\n", list.title) };
    let mut prices = list.price;
    prices.sort();
    let named = |sku: &str| prices.iter().any(|price| price.sku == sku && !everywhere(&price.regions));
    let rows = prices.iter().map(|price| {
        let regions = match everywhere(&price.regions) {
            true if named(&price.sku) => "all others".to_owned(),
            true => "all".to_owned(),
            false => regions(&price.regions),
        };
        vec![price.sku.clone(), price.price.clone(), price.from.clone(), regions]
    });
    let price = format!("PRICE ({})", list.currency);
    // Prices keep to the left, so that their points stand below each other.
    let headings =
        [("SKU", Align::Left), (price.as_str(), Align::Left), ("FROM", Align::Left), ("REGIONS", Align::Left)];
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        text += "The price list has no prices: usage is counted and costs nothing.\n";
    } else {
        text += &columns(&headings, &rows);
    }
    if !list.free.is_empty() {
        let rows = list.free.into_iter().map(|free| vec![free.sku, free.units.to_string(), free.price]);
        let headings = [("SKU", Align::Left), ("UNITS", Align::Right), (price.as_str(), Align::Left)];
        // Writing into a text cannot fail.
        let _ = write!(text, "\nFree in each month, where the settings grant it\n");
        text += &columns(&headings, &rows.collect::<Vec<_>>());
    }
    text
}

/// Whether a price holds in every region that no other price of its SKU names.
fn everywhere(regions: &[String]) -> bool {
    regions.iter().any(|region| region == "*")
}

/// Regions in the list's order, where the best known come first.
fn regions(regions: &[String]) -> String {
    match regions {
        [first, rest @ ..] if regions.len() > NAMED => format!("{first} and {} more", rest.len()),
        few => few.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn b05_prices_are_sorted_and_regions_shortened() {
        let list = json!({
            "title": "Example prices", "currency": "USD",
            "price": [
                {"sku": "gpu/nvidia-l4", "regions": ["us-central1", "us-east4", "asia-east1"], "from": "2024-01-01",
                 "price": "0.0001867"},
                {"sku": "cpu-instance", "regions": ["*"], "from": "2025-01-01", "price": "0.00002"},
                {"sku": "cpu-instance", "regions": ["*"], "from": "2024-01-01", "price": "0.000018"},
                {"sku": "cpu-instance", "regions": ["a", "b"], "from": "2025-01-01", "price": "0.00003"},
                {"sku": "requests", "regions": ["*"], "from": "2024-01-01", "price": "0.0000004"},
            ],
            "free": [{"sku": "cpu-instance", "units": 240_000, "price": "0.000018"}],
        });
        assert_eq!(
            table(serde_json::from_value(list).expect("a list")),
            "\
Example prices

SKU            PRICE (USD)  FROM        REGIONS
cpu-instance   0.000018     2024-01-01  all others
cpu-instance   0.00002      2025-01-01  all others
cpu-instance   0.00003      2025-01-01  a, b
gpu/nvidia-l4  0.0001867    2024-01-01  us-central1 and 2 more
requests       0.0000004    2024-01-01  all

Free in each month, where the settings grant it
SKU            UNITS  PRICE (USD)
cpu-instance  240000  0.000018
"
        );
    }

    #[test]
    fn b05_a_list_without_prices_says_what_that_means() {
        let list = serde_json::from_value(json!({"currency": "EUR"})).expect("a list");
        assert_eq!(table(list), "The price list has no prices: usage is counted and costs nothing.\n");
    }
}
