//! Reports for tests.

use homerun_api::usage::{Credit, Item, Line, Report};

fn item(sku: &str, quantity: &str, unit: &str, price: Option<&str>, cost: &str) -> Item {
    let owned = str::to_owned;
    Item { sku: owned(sku), quantity: owned(quantity), unit: owned(unit), price: price.map(owned), cost: owned(cost) }
}

fn line(key: &[&str], items: Vec<Item>, cost: &str) -> Line {
    let key = key.iter().map(|value| (*value).to_owned()).collect();
    Line { key, items, cost: cost.to_owned(), always_on: None, starts: None, requests: None }
}

/// A report without lines.
pub(crate) fn empty() -> Report {
    Report {
        from: "2026-11-01T00:00:00Z".parse().expect("a time"),
        to: "2026-11-26T10:00:00Z".parse().expect("a time"),
        by: vec!["service".to_owned()],
        currency: "USD".to_owned(),
        price_list: "Example prices".to_owned(),
        lines: Vec::new(),
        credits: Vec::new(),
        cost: "0".to_owned(),
        always_on: None,
        notes: Vec::new(),
    }
}

/// Two services; one has no value in the second dimension, and something without a price.
pub(crate) fn by(dimensions: &[&str]) -> Report {
    let ocr = vec![
        item("cpu-instance", "14400.1", "vCPU-second", Some("0.000018"), "0.2592018"),
        item("gpu/nvidia-l4", "3600", "GPU-second", Some("0.0001867"), "0.67212"),
    ];
    let hello = vec![
        item("cpu-request", "2.5", "vCPU-second", Some("0.000024"), "0.00006"),
        item("requests", "12", "request", None, "0"),
    ];
    let counted = |line, starts, requests, always_on: &str| Line {
        starts: Some(starts),
        requests: Some(requests),
        always_on: Some(always_on.to_owned()),
        ..line
    };
    Report {
        by: dimensions.iter().map(|by| (*by).to_owned()).collect(),
        lines: vec![
            counted(line(&["ocr", "ml"], ocr, "0.9313218"), 3, 120, "93.13218"),
            counted(line(&["hello", ""], hello, "0.00006"), 1, 12, "0.00005"),
        ],
        cost: "0.9313818".to_owned(),
        always_on: Some("93.13223".to_owned()),
        notes: vec!["requests have no price in us-central1".to_owned()],
        ..empty()
    }
}

/// Lines by SKU.
pub(crate) fn by_sku() -> Report {
    let cpu = item("cpu-instance", "14400.1", "vCPU-second", Some("0.000018"), "0.2592018");
    let requests = item("requests", "12", "request", None, "0");
    let lines = vec![line(&["cpu-instance"], vec![cpu], "0.2592018"), line(&["requests"], vec![requests], "0")];
    Report { by: vec!["sku".to_owned()], lines, cost: "0.2592018".to_owned(), ..empty() }
}

/// Lines by day.
pub(crate) fn by_day() -> Report {
    let days = [("2026-11-24", "7200", "1.34424"), ("2026-11-25", "1800", "0.33606"), ("2026-11-26", "10", "0.001867")];
    let lines = days.map(|(day, seconds, cost)| {
        let gpu = item("gpu/nvidia-l4", seconds, "GPU-second", Some("0.0001867"), cost);
        Line { starts: Some(1), requests: Some(7), ..line(&[day], vec![gpu], cost) }
    });
    Report { by: vec!["day".to_owned()], lines: lines.to_vec(), cost: "1.682167".to_owned(), ..empty() }
}

/// Lines by SKU with free usage.
pub(crate) fn with_credits() -> Report {
    let credit = |sku: &str, quantity: &str, cost: &str| Credit {
        month: "2026-11".to_owned(),
        sku: sku.to_owned(),
        quantity: quantity.to_owned(),
        unit: "vCPU-second".to_owned(),
        cost: cost.to_owned(),
    };
    let credits = vec![credit("cpu-instance", "14000", "-0.252"), credit("cpu-request", "0.5", "-0.000012")];
    Report { credits, cost: "0.0071898".to_owned(), ..by_sku() }
}
