//! The console's pages about usage, cost and budgets: row G24.

mod common;

use common::browser::Browser;
use common::{Stack, service};
use reqwest::StatusCode;
use serde_json::json;

/// A service that has had one instance with a GPU and is at zero again.
async fn served_once() -> Stack {
    let stack = Stack::start("simulated:nvidia-l4=1").await;
    stack.create(service("ocr", "sim/hello", true)).await;
    assert_eq!(stack.settled("ocr").await["status"], "True");
    stack.until("zero", |status| status["instances"] == json!([])).await;
    stack
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_usage_is_shown_by_service_by_sku_and_by_day_with_its_prices() {
    let stack = served_once().await;
    let mut owner = Browser::owner(&stack).await;
    let page = owner.page("/console/demo/usage").await;
    assert!(page.contains("<a href=\"/console/demo/services/us-central1/ocr/usage\">ocr</a>"), "{page}");
    assert!(page.contains("<th scope=\"row\">gpu/nvidia-l4</th>"), "{page}");
    assert!(page.contains("60 GPU-second") && page.contains("0.0001867 USD / GPU-second"), "{page}");
    assert!(page.contains("0.0112 USD") && page.contains("GPUs of this machine are simulated"), "{page}");
    let today = format!("{} 00:00</th><td>0.01", chrono::Utc::now().format("%Y-%m-%d"));
    assert!(page.contains(&today), "the plot's table has today: {page}");
    let of_service = owner.page("/console/demo/services/us-central1/ocr/usage?period=12-months").await;
    assert!(of_service.contains("60 GPU-second") && of_service.contains("<option value=\"12-months\" selected>"));
    let before = owner.page("/console/demo/usage?period=last-month").await;
    assert!(before.contains("Nothing was used in this time"), "{before}");
    let wrong = owner.get("/console/demo/usage?period=dates&from=2026-02-30&to=2026-03-01").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    let message = "<p class=\"wrong\" id=\"from-error\">'2026-02-30' is no date such as 2026-11-26.</p>";
    assert!(wrong.contains(message), "{wrong}");
    let wrong = owner.in_japanese().get("/console/demo/usage.csv?period=dates&from=2026-02-30&to=2026-03-01").await;
    assert!(wrong.contains("「2026-02-30」は 2026-11-26 のような日付ではありません。"), "{wrong}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_usage_is_downloaded_as_csv_and_in_focus_columns() {
    let stack = served_once().await;
    let mut owner = Browser::owner(&stack).await;
    let csv = owner.page("/console/demo/usage.csv?service=ocr").await;
    assert!(csv.body.starts_with("region,service,sku,quantity,unit,price,cost,currency\r\n"), "{csv}");
    assert!(csv.contains("us-central1,ocr,gpu/nvidia-l4,60,GPU-second,0.0001867,0.011202,USD\r\n"), "{csv}");
    let focus = owner.page("/console/demo/usage-focus.csv").await;
    assert!(focus.body.starts_with("AvailabilityZone,BilledCost,") && focus.contains("0.011202"), "{focus}");
    let nothing = owner.page("/console/demo/usage.csv?service=other").await;
    assert_eq!(nothing.body.lines().count(), 1, "{nothing}");
    stack.grant("", "roles/run.viewer", "user:ann@example.com").await;
    let mut ann = Browser::of(&stack, "ann@example.com", "demo").await;
    for path in ["usage", "usage.csv", "usage-focus.csv", "services/us-central1/ocr/usage", "budgets/-/new"] {
        assert_eq!(ann.get(&format!("/console/demo/{path}")).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    let tabs = ann.page("/console/demo/services/us-central1/ocr/instances").await;
    assert!(!tabs.contains("ocr/usage") && !tabs.contains("ocr/logs"), "{tabs}");
    stack.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g24_a_budget_is_made_changed_and_deleted_in_the_console() {
    let stack = served_once().await;
    let mut owner = Browser::owner(&stack).await;
    let new = "/console/demo/budgets/-/new";
    let fields =
        |amount, thresholds| [("name", "team"), ("amount", amount), ("thresholds", thresholds), ("stop", "on")];
    for (amount, thresholds, field, message) in [
        ("much", "50", "amount", "'much' must be an amount such as 250 or 12.50"),
        ("0", "50", "amount", "must be more than 0"),
        ("1", "half", "thresholds", "'half' must be a percentage such as 90"),
        ("1", "50, 2000", "thresholds", "2000 must be a percentage from 1 to 1000"),
    ] {
        let wrong = owner.submit(new, &fields(amount, thresholds)).await;
        assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
        let (_, at) = wrong.body.split_once(&format!("id=\"{field}-error\">")).expect("a message at the field");
        assert!(at.starts_with(message), "{at}");
    }
    let made = owner.submit(new, &fields("0.01", "50, 90 %")).await;
    assert_eq!((made.status, made.location()), (StatusCode::SEE_OTHER, "/console/demo/usage"), "{made}");
    let page = owner.page("/console/demo/usage").await;
    assert!(page.contains("Used up") && page.contains("/ 0.0100 USD") && page.contains("50 %, 90 %"), "{page}");
    let again = owner.submit(new, &fields("5", "50")).await;
    assert!(again.contains("Budget 'team' already exists."), "{again}");
    let budget = "/console/demo/budgets/team";
    let page = owner.page(budget).await;
    assert!(page.contains("value=\"50, 90\""));
    let was = page.hidden("was");
    let change = |was, amount| [("was", was), ("amount", amount), ("thresholds", "75"), ("service", "ocr")];
    let changed = owner.submit(budget, &change(&was, "125")).await;
    assert_eq!(changed.status, StatusCode::SEE_OTHER, "{changed}");
    // Whoever has seen the budget as it was before must look again.
    let stale = owner.submit(budget, &change(&was, "250")).await;
    assert_eq!(stale.status, StatusCode::BAD_REQUEST);
    assert!(stale.contains("changed by somebody else") && stale.contains("value=\"250\""), "{stale}");
    assert!(owner.page("/console/demo/usage").await.contains("/ 125.0000 USD"));
    assert_eq!(owner.submit(budget, &change("", "250")).await.status, StatusCode::BAD_REQUEST);
    let was = stale.hidden("was");
    let changed = owner.submit(budget, &change(&was, "250")).await;
    assert_eq!(changed.status, StatusCode::SEE_OTHER, "{changed}");
    assert!(owner.page("/console/demo/usage").await.contains("/ 250.0000 USD"));
    let slip = owner.submit(budget, &[("action", "delete"), ("confirm", "tea")]).await;
    assert!(slip.contains("<p class=\"wrong\" id=\"confirm-error\">"), "{slip}");
    let gone = owner.submit(budget, &[("action", "delete"), ("confirm", "team")]).await;
    assert_eq!(gone.status, StatusCode::SEE_OTHER, "{gone}");
    assert!(owner.page("/console/demo/usage").await.contains("There is no budget."));
    let gone = owner.submit(budget, &change(&was, "250")).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND, "saving does not make it again: {gone}");
    assert!(owner.page("/console/demo/usage").await.contains("There is no budget."));
    let audit = stack.get("/homerun/v1/projects/demo/audit").await;
    assert_eq!(audit["records"][0]["verb"], "DELETE", "{audit:#}");
    assert_eq!(audit["records"][1]["path"], "/homerun/v1/projects/demo/budgets/team", "{audit:#}");
    stack.end().await;
}
