use super::*;

fn list(text: &str) -> Result<Prices, PriceError> {
    Prices::new(serde_json::from_str(text).expect("a list"))
}

fn day(text: &str) -> NaiveDate {
    text.parse().expect("a day")
}

const LIST: &str = r#"{"currency": "USD", "price": [
    {"sku": "cpu-instance", "regions": ["*"], "from": "2024-01-01", "price": "0.000018"},
    {"sku": "cpu-instance", "regions": ["asia-east2"], "from": "2024-01-01", "price": "0.0000216"},
    {"sku": "cpu-instance", "regions": ["*"], "from": "2025-07-01", "price": "0.00002"}]}"#;

#[test]
fn b05_a_price_holds_from_its_day_until_the_next_in_its_region() {
    let prices = list(LIST).expect("a good list");
    let rate = |region: &str, on: &str| prices.rate(&Sku::CpuInstance, &Region::from(region), day(on));
    assert_eq!(rate("us-central1", "2023-12-31"), None);
    assert_eq!(rate("us-central1", "2024-01-01"), Some(Rate(18_000_000)));
    assert_eq!(rate("us-central1", "2025-07-01"), Some(Rate(20_000_000)));
    assert_eq!(rate("asia-east2", "2025-07-01"), Some(Rate(21_600_000)), "its own price goes before everybody's");
    assert_eq!(prices.epoch(day("2025-06-30")), day("2024-01-01"));
    assert_eq!(prices.rate(&Sku::Requests, &Region::from("us-central1"), day("2025-07-01")), None);
}

#[test]
fn b05_a_wrong_list_is_told_where_it_is_wrong() {
    assert_eq!(list(&LIST.replace("USD", "dollars")).err(), Some(PriceError::Currency("dollars".to_owned())));
    let twice = list(&LIST.replace("2025-07-01", "2024-01-01")).err().map(|error| error.to_string());
    assert_eq!(
        twice.as_deref(),
        Some("price 3: cpu-instance has two prices in * from 2024-01-01 on; leave one of them")
    );
    let unknown = serde_json::from_str::<PriceList>(&LIST.replace("cpu-instance", "cpu")).err().map(|e| e.to_string());
    assert!(unknown.is_some_and(|text| text.contains("must be one of cpu-instance,")));
    let number = serde_json::from_str::<PriceList>(&LIST.replace("\"0.00002\"", "\"2e-5\"")).err();
    let number = number.map(|error| error.to_string()).unwrap_or_default();
    assert!(number.contains("\"2e-5\", expected a price in quotes, with at most twelve decimals"), "{number}");
}

#[test]
fn g21_what_is_sold_is_what_was_asked_for_in_every_step() {
    let shape = Shape {
        billing: Billing::Instance,
        cpu_millis: 4000,
        boost_millis: 4000,
        memory_bytes: 16 << 30,
        gpu: Some(GpuType::from("nvidia-l4")),
        gpus: 1,
        zonal_redundancy: false,
    };
    let sum = Sum { active: 36_000, boosted: 100, idle: 0, requests: 7 };
    let units: Vec<(String, String)> =
        sold(&shape, &sum).into_iter().map(|(sku, amount)| (sku.to_string(), sku.quantity(amount))).collect();
    let expected = [("cpu-instance", "14440"), ("memory-instance", "57600"), ("gpu/nvidia-l4", "3600")];
    assert_eq!(units, expected.map(|(sku, units)| (sku.to_owned(), units.to_owned())), "requests cost nothing");
    let zonal = Shape { zonal_redundancy: true, ..shape };
    assert_eq!(sold(&zonal, &sum)[2].0, Sku::GpuZonal(GpuType::from("nvidia-l4")));
}
