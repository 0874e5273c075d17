//! Rows of the FinOps Open Cost and Usage Specification, version 1.2 (<https://focus.finops.org>).
//!
//! All columns of that version are there, those that nothing here fills too: a reader need not ask which.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, SecondsFormat, TimeDelta, Utc};
use homerun_model::billing::Subject;
use homerun_model::billing::prices::Sku;
use homerun_model::billing::report::Item;
use serde_json::{Value, json};

use super::{Focus, FocusColumn, FocusKind};

/// The version of the specification.
pub const VERSION: &str = "1.2";

/// Who sells to whom.
#[derive(Debug, Clone)]
pub struct Parties<'a> {
    /// Who sells: provider, publisher and issuer of invoices.
    pub provider: &'a str,
    /// Id of the account that pays.
    pub account: &'a str,
    /// ISO 4217 code.
    pub currency: &'a str,
}

/// What a subject used of something in a time.
#[derive(Debug, Clone)]
pub struct Charge<'a> {
    /// Whose it is; `None` for a discount for everybody.
    pub subject: Option<&'a Subject>,
    /// What it is.
    pub item: Item,
    /// When it began.
    pub start: DateTime<Utc>,
    /// When it ended.
    pub end: DateTime<Utc>,
    /// Whether it is free usage that is given back.
    pub credit: bool,
}

const DATETIMES: [&str; 4] = ["BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart"];
const JSONS: [&str; 2] = ["SkuPriceDetails", "Tags"];
const DECIMALS: [&str; 12] = [
    "BilledCost",
    "CommitmentDiscountQuantity",
    "ConsumedQuantity",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "ListCost",
    "ListUnitPrice",
    "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice",
    "PricingQuantity",
];
const COLUMNS: &str = "AvailabilityZone BilledCost BillingAccountId BillingAccountName BillingAccountType \
    BillingCurrency BillingPeriodEnd BillingPeriodStart CapacityReservationId CapacityReservationStatus ChargeCategory \
    ChargeClass ChargeDescription ChargeFrequency ChargePeriodEnd ChargePeriodStart CommitmentDiscountCategory \
    CommitmentDiscountId CommitmentDiscountName CommitmentDiscountQuantity CommitmentDiscountStatus \
    CommitmentDiscountType CommitmentDiscountUnit ConsumedQuantity ConsumedUnit ContractedCost ContractedUnitPrice \
    EffectiveCost InvoiceId InvoiceIssuerName ListCost ListUnitPrice PricingCategory PricingCurrency \
    PricingCurrencyContractedUnitPrice PricingCurrencyEffectiveCost PricingCurrencyListUnitPrice PricingQuantity \
    PricingUnit ProviderName PublisherName RegionId RegionName ResourceId ResourceName ResourceType ServiceCategory \
    ServiceName ServiceSubcategory SkuId SkuMeter SkuPriceDetails SkuPriceId SubAccountId SubAccountName SubAccountType \
    Tags";

/// The table of some charges.
pub fn table<'a>(parties: &Parties<'_>, charges: impl IntoIterator<Item = Charge<'a>>) -> Focus {
    let names: Vec<&str> = COLUMNS.split_whitespace().collect();
    let kind = |name: &str| match name {
        name if DATETIMES.contains(&name) => FocusKind::Datetime,
        name if DECIMALS.contains(&name) => FocusKind::Decimal,
        name if JSONS.contains(&name) => FocusKind::Json,
        _ => FocusKind::String,
    };
    let columns = names.iter().map(|name| FocusColumn { name: (*name).to_owned(), kind: kind(name) }).collect();
    let rows = charges.into_iter().map(|charge| {
        let mut values = values(parties, &charge);
        names.iter().map(|name| values.remove(name)).collect()
    });
    Focus { version: VERSION.to_owned(), columns, rows: rows.collect() }
}

/// The columns of one charge that have a value.
fn values(parties: &Parties<'_>, charge: &Charge<'_>) -> BTreeMap<&'static str, String> {
    let item = &charge.item;
    let cost = decimal(&item.cost.to_string());
    let mut values = BTreeMap::from([
        ("BilledCost", cost.clone()),
        ("EffectiveCost", cost.clone()),
        ("ListCost", cost.clone()),
        ("ContractedCost", cost.clone()),
        ("PricingCurrencyEffectiveCost", cost),
        ("BillingAccountId", parties.account.to_owned()),
        ("BillingAccountName", parties.account.to_owned()),
        ("BillingAccountType", "Installation".to_owned()),
        ("BillingCurrency", parties.currency.to_owned()),
        ("PricingCurrency", parties.currency.to_owned()),
        ("BillingPeriodStart", datetime(month(charge.start))),
        ("BillingPeriodEnd", datetime(month(month(charge.start) + TimeDelta::days(32)))),
        ("ChargePeriodStart", datetime(charge.start)),
        ("ChargePeriodEnd", datetime(charge.end)),
        ("ChargeCategory", if charge.credit { "Credit" } else { "Usage" }.to_owned()),
        ("ChargeFrequency", "Usage-Based".to_owned()),
        ("ProviderName", parties.provider.to_owned()),
        ("PublisherName", parties.provider.to_owned()),
        ("InvoiceIssuerName", parties.provider.to_owned()),
        ("ServiceCategory", "Compute".to_owned()),
        ("ServiceSubcategory", "Containers".to_owned()),
        ("ServiceName", "homerun".to_owned()),
    ]);
    sku(&mut values, item, charge.credit);
    let what = meter(&item.sku);
    let description = match charge.subject {
        Some(subject) => format!("{what} of service {} in {}", subject.service, subject.region),
        None => format!("Free usage: {what}"),
    };
    values.insert("ChargeDescription", description);
    if let Some(subject) = charge.subject {
        resource(&mut values, subject);
    }
    values
}

fn sku(values: &mut BTreeMap<&'static str, String>, item: &Item, credit: bool) {
    let unit = match item.sku {
        Sku::CpuInstance | Sku::CpuRequest | Sku::CpuIdle => "Core-Seconds",
        Sku::MemoryInstance | Sku::MemoryRequest | Sku::MemoryIdle => "GiB-Seconds",
        Sku::Requests => "Requests",
        Sku::Gpu(_) | Sku::GpuZonal(_) => "GPU-Seconds",
    };
    let price = decimal(&item.rate.unwrap_or_default().to_string());
    values.insert("SkuId", item.sku.to_string());
    values.insert("SkuMeter", meter(&item.sku));
    values.insert("SkuPriceId", format!("{}/{price}", item.sku));
    values.insert("SkuPriceDetails", details(&item.sku).to_string());
    values.insert("PricingCategory", "Standard".to_owned());
    for name in
        ["ListUnitPrice", "ContractedUnitPrice", "PricingCurrencyListUnitPrice", "PricingCurrencyContractedUnitPrice"]
    {
        values.insert(name, price.clone());
    }
    let mut quantity = decimal(&item.sku.quantity(item.amount));
    if credit {
        quantity.insert(0, '-');
    } else {
        values.insert("ConsumedQuantity", quantity.clone());
        values.insert("ConsumedUnit", unit.to_owned());
    }
    values.insert("PricingQuantity", quantity);
    values.insert("PricingUnit", unit.to_owned());
}

fn meter(sku: &Sku) -> String {
    match sku {
        Sku::CpuInstance => "CPU time, instance-based billing".to_owned(),
        Sku::MemoryInstance => "Memory time, instance-based billing".to_owned(),
        Sku::CpuRequest => "CPU time, request-based billing".to_owned(),
        Sku::MemoryRequest => "Memory time, request-based billing".to_owned(),
        Sku::CpuIdle => "CPU time of idle minimum instances".to_owned(),
        Sku::MemoryIdle => "Memory time of idle minimum instances".to_owned(),
        Sku::Requests => "Requests".to_owned(),
        Sku::Gpu(gpu) => format!("GPU time, {gpu}"),
        Sku::GpuZonal(gpu) => format!("GPU time, {gpu}, zonal redundancy"),
    }
}

/// What one unit is.
fn details(sku: &Sku) -> Value {
    match sku {
        Sku::CpuInstance | Sku::CpuRequest | Sku::CpuIdle => json!({"CoreCount": 1}),
        Sku::MemoryInstance | Sku::MemoryRequest | Sku::MemoryIdle => json!({"MemorySize": 1}),
        Sku::Requests => json!({"x_RequestCount": 1}),
        Sku::Gpu(gpu) => json!({"GpuCount": 1, "x_GpuModel": gpu.as_str(), "Redundancy": "None"}),
        Sku::GpuZonal(gpu) => json!({"GpuCount": 1, "x_GpuModel": gpu.as_str(), "Redundancy": "Zonal"}),
    }
}

fn resource(values: &mut BTreeMap<&'static str, String>, subject: &Subject) {
    let Subject { project, region, service, revision, .. } = subject;
    let mut tags: serde_json::Map<String, Value> =
        subject.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    tags.insert("homerun/revision".to_owned(), json!(revision.as_str()));
    values.insert("Tags", Value::Object(tags).to_string());
    values.insert("RegionId", region.to_string());
    values.insert("RegionName", region.to_string());
    values.insert("ResourceId", format!("projects/{project}/locations/{region}/services/{service}"));
    values.insert("ResourceName", service.to_string());
    values.insert("ResourceType", "Service".to_owned());
    values.insert("SubAccountId", project.to_string());
    values.insert("SubAccountName", project.to_string());
    values.insert("SubAccountType", "Project".to_owned());
}

/// With a point, which tells readers that guess a column's type that it is no integer.
fn decimal(text: &str) -> String {
    if text.contains('.') { text.to_owned() } else { format!("{text}.0") }
}

fn datetime(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The first moment of a time's month.
fn month(time: DateTime<Utc>) -> DateTime<Utc> {
    let first = time.date_naive().with_day(1).and_then(|day| day.and_hms_opt(0, 0, 0));
    first.map_or(time, |first| first.and_utc())
}
