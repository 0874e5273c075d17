//! `homerun budget`: what a project or a service may cost in a month, and what happens then.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use clap::{ArgGroup, Args, Subcommand};
use homerun_api::usage::{Budget, BudgetStatus, Budgets};
use reqwest::Method;
use serde::de::DeserializeOwned;

use crate::Target;
use crate::client::{CliError, Client, segment};
use crate::decimal::{Decimal, Money, bar};
use crate::output::{self, Align, Format, columns};

/// Width of a bar in characters.
const BAR: usize = 10;

/// `homerun budget ...`
#[derive(Debug, Subcommand)]
pub enum BudgetCommand {
    /// List the project's budgets and where they stand
    #[command(after_help = "Examples:\n  homerun budget list\n  homerun budget list --format json")]
    List(ListArgs),
    /// Show a budget
    #[command(after_help = "Example:\n  homerun budget describe team")]
    Describe(DescribeArgs),
    /// Make a budget, or change what is given of one
    #[command(after_help = "Amounts are for a calendar month (UTC), in the price list's currency.\n\nExamples:\n  \
                            homerun budget set team --amount 250\n  \
                            homerun budget set ocr --amount 12.50 --service ocr --threshold 80 --threshold 100 --stop\n  \
                            homerun budget set ocr --webhook https://example.com/budget\n  \
                            homerun budget set ocr --no-stop --webhook ''")]
    Set(SetArgs),
    /// Delete a budget; what it stopped starts again
    #[command(after_help = "Example:\n  homerun budget delete team --quiet")]
    Delete(DeleteArgs),
}

/// Flags of `homerun budget list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Project; by default the server's
    #[arg(long)]
    project: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Flags of `homerun budget describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// The budget's name
    name: String,
    /// Project; by default the server's
    #[arg(long)]
    project: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    format: Format,
}

/// Flags of `homerun budget set`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").multiple(true).required(true)
    .args(["amount", "service", "region", "threshold", "stop", "no_stop", "webhook"]))]
pub struct SetArgs {
    /// The budget's name
    name: String,
    /// Amount per month, for instance 250 or 12.50; a new budget needs it
    #[arg(long)]
    amount: Option<String>,
    /// The service it is for; '' is the whole project
    #[arg(long)]
    service: Option<String>,
    /// The service's region, where it has the same name in several; '' is none
    #[arg(long)]
    region: Option<String>,
    /// Percentage at which somebody is told; may be given several times. 50, 90 and 100 for a new budget
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    threshold: Vec<u32>,
    /// Start no further instances from 100 % on; those that run go on
    #[arg(long, conflicts_with = "no_stop")]
    stop: bool,
    /// Only tell
    #[arg(long)]
    no_stop: bool,
    /// Address that is told by a POST request; '' is none
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Project; by default the server's
    #[arg(long)]
    project: Option<String>,
    /// How to print what it is now
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Flags of `homerun budget delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The budget's name
    name: String,
    /// Project; by default the server's
    #[arg(long)]
    project: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) async fn run(target: &Target, command: BudgetCommand) -> Result<(), CliError> {
    let client = Client::new(target)?;
    match command {
        BudgetCommand::List(args) => {
            let path = path(&client, args.project.as_deref(), None)?;
            let answer = client.call(Method::GET, &path, None).await?;
            show(answer, args.format, |budgets: Budgets| table(&budgets.budgets))
        }
        BudgetCommand::Describe(args) => {
            let path = path(&client, args.project.as_deref(), Some(&args.name))?;
            let answer = client.call(Method::GET, &path, None).await?;
            show(answer, args.format, |budget: BudgetStatus| table(&[budget]))
        }
        BudgetCommand::Set(args) => set(&client, args).await,
        BudgetCommand::Delete(args) => delete(&client, &args).await,
    }
}

/// The place of all budgets, or of one.
fn path(client: &Client, project: Option<&str>, name: Option<&str>) -> Result<String, CliError> {
    let project = segment("--project", project.unwrap_or(client.defaults().0))?;
    let all = format!("/homerun/v1/projects/{project}/budgets");
    Ok(match name {
        Some(name) => format!("{all}/{}", segment("NAME", name)?),
        None => all,
    })
}

fn show<T: DeserializeOwned>(
    answer: serde_json::Value,
    format: Format,
    table: impl FnOnce(T) -> Result<String, CliError>,
) -> Result<(), CliError> {
    match format {
        Format::Json => output::json(&answer)?,
        Format::Yaml => output::yaml(&answer)?,
        Format::Table => {
            let text = table(serde_json::from_value(answer).map_err(CliError::Answer)?)?;
            std::io::stdout().write_all(text.as_bytes())?;
        }
    }
    Ok(())
}

async fn set(client: &Client, args: SetArgs) -> Result<(), CliError> {
    let path = path(client, args.project.as_deref(), Some(&args.name))?;
    let before = match client.call(Method::GET, &path, None).await {
        Ok(found) => Some(serde_json::from_value::<BudgetStatus>(found).map_err(CliError::Answer)?.budget),
        Err(CliError::Api { status: 404, .. }) => None,
        Err(error) => return Err(error),
    };
    let format = args.format;
    let body = serde_json::to_value(changed(before, args)?).map_err(CliError::Answer)?;
    let answer = client.call(Method::PUT, &path, Some(&body)).await?;
    show(answer, format, |budget: BudgetStatus| table(&[budget]))
}

/// The budget with what the flags say.
fn changed(before: Option<Budget>, args: SetArgs) -> Result<Budget, CliError> {
    let mut budget = match (before, &args.amount) {
        (Some(budget), _) => budget,
        (None, Some(amount)) => {
            Budget { amount: amount.clone(), service: None, region: None, thresholds: None, stop: false, webhook: None }
        }
        (None, None) => {
            let message = format!("budget '{}' is new and needs an amount, for instance --amount 250", args.name);
            return Err(CliError::Flag { flag: "--amount", message });
        }
    };
    budget.amount = args.amount.unwrap_or(budget.amount);
    let flags =
        [(&mut budget.service, args.service), (&mut budget.region, args.region), (&mut budget.webhook, args.webhook)];
    for (field, flag) in flags {
        if let Some(text) = flag {
            *field = Some(text).filter(|text| !text.is_empty());
        }
    }
    // A region without a service would mean nothing.
    budget.region = budget.region.filter(|_| budget.service.is_some());
    if !args.threshold.is_empty() {
        budget.thresholds = Some(args.threshold);
    }
    budget.stop = args.stop || (budget.stop && !args.no_stop);
    Ok(budget)
}

async fn delete(client: &Client, args: &DeleteArgs) -> Result<(), CliError> {
    let path = path(client, args.project.as_deref(), Some(&args.name))?;
    if !args.quiet && std::io::stdin().is_terminal() {
        eprint!("Budget [{}] will be deleted, and what it stopped starts again. Go on (y/N)? ", args.name);
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !answer.trim().eq_ignore_ascii_case("y") {
            eprintln!("Nothing was deleted.");
            return Ok(());
        }
    }
    client.call(Method::DELETE, &path, None).await?;
    writeln!(std::io::stdout(), "Deleted budget [{}].", args.name)?;
    Ok(())
}

/// Budgets for people.
fn table(budgets: &[BudgetStatus]) -> Result<String, CliError> {
    if budgets.is_empty() {
        return Ok("There are no budgets. To make one: homerun budget set NAME --amount 250\n".to_owned());
    }
    let headings = [
        ("NAME", Align::Left),
        ("SCOPE", Align::Left),
        ("MONTH", Align::Left),
        ("SPENT", Align::Right),
        ("AMOUNT", Align::Right),
        ("USED", Align::Right),
        ("", Align::Left),
        ("REACHED", Align::Right),
        ("AT 100 %", Align::Left),
    ];
    let rows = budgets.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    let mut text = columns(&headings, &rows);
    for stopped in budgets.iter().filter(|budget| budget.stopped) {
        // Writing into a text cannot fail.
        let _ = writeln!(
            text,
            "\n! [{}] is spent: {} starts no further instances until the next month, or until\n  \
             homerun budget set {0} --amount MORE, or --no-stop",
            stopped.name,
            scope(&stopped.budget)
        );
    }
    Ok(text)
}

fn row(status: &BudgetStatus) -> Result<Vec<String>, CliError> {
    let (spent, amount) = (Decimal::of(&status.spent)?, Decimal::of(&status.budget.amount)?);
    let money = |amount: Decimal| Money::like([amount].into_iter()).show(amount);
    let percent = |number| format!("{number} %");
    let used = spent.thousandths_of(amount).map_or("-".to_owned(), |part| percent(part / 10));
    let at_full = match (status.stopped, status.budget.stop) {
        (true, _) => "stopped",
        (false, true) => "stop",
        (false, false) => "tell",
    };
    Ok(vec![
        status.name.clone(),
        scope(&status.budget),
        status.month.clone(),
        money(spent),
        format!("{} {}", money(amount), status.currency),
        used,
        bar(spent, amount, BAR),
        status.reached.map_or("-".to_owned(), |reached| percent(i128::from(reached))),
        at_full.to_owned(),
    ])
}

fn scope(budget: &Budget) -> String {
    match (&budget.service, &budget.region) {
        (Some(service), Some(region)) => format!("service {service} in {region}"),
        (Some(service), None) => format!("service {service}"),
        (None, _) => "the project".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(subcommand)]
        command: BudgetCommand,
    }

    fn flags(flags: &str) -> SetArgs {
        let words = ["budget", "set", "team"].into_iter().chain(flags.split_whitespace());
        let words = words.map(|word| if word == "''" { "" } else { word });
        match Program::try_parse_from(words).expect("flags").command {
            BudgetCommand::Set(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn budget() -> Budget {
        Budget {
            amount: "12.50".to_owned(),
            service: Some("ocr".to_owned()),
            region: Some("us-central1".to_owned()),
            thresholds: Some(vec![80, 100]),
            stop: true,
            webhook: Some("https://example.com/".to_owned()),
        }
    }

    #[test]
    fn b05_setting_a_budget_changes_what_is_given_and_nothing_else() {
        let set = |text| changed(Some(budget()), flags(text)).expect("a budget");
        assert_eq!(set("--amount 20"), Budget { amount: "20".to_owned(), ..budget() });
        assert_eq!(set("--no-stop"), Budget { stop: false, ..budget() });
        assert_eq!(set("--webhook ''"), Budget { webhook: None, ..budget() });
        assert_eq!(set("--service ''"), Budget { service: None, region: None, ..budget() });
        assert_eq!(set("--threshold 10 --threshold 20"), Budget { thresholds: Some(vec![10, 20]), ..budget() });
        assert_eq!(set("--stop"), budget());
    }

    #[test]
    fn b05_a_new_budget_needs_an_amount() {
        let made = changed(None, flags("--amount 250")).expect("a budget");
        assert_eq!((made.amount.as_str(), made.stop, made.thresholds), ("250", false, None));
        let error = changed(None, flags("--stop")).expect_err("no amount").to_string();
        assert_eq!(error, "--amount: budget 'team' is new and needs an amount, for instance --amount 250");
    }

    #[test]
    fn b05_setting_nothing_is_refused() {
        let error = Program::try_parse_from(["budget", "set", "team"]).expect_err("nothing").to_string();
        assert!(error.contains("--amount"), "{error}");
    }

    #[test]
    fn b05_budgets_show_what_is_spent_and_what_they_stopped() {
        let status = |name: &str, budget: Budget, spent: &str, reached, stopped| BudgetStatus {
            name: name.to_owned(),
            budget,
            currency: "USD".to_owned(),
            month: "2026-11".to_owned(),
            spent: spent.to_owned(),
            reached,
            stopped,
        };
        let team = Budget { amount: "250".to_owned(), service: None, region: None, stop: false, ..budget() };
        let plain = Budget { region: None, ..budget() };
        let budgets = [
            status("ocr", budget(), "13.000000001", Some(100), true),
            status("plain", plain, "0", None, false),
            status("team", team, "137.5", Some(50), false),
        ];
        assert_eq!(
            table(&budgets).expect("a table"),
            "\
NAME   SCOPE                       MONTH     SPENT      AMOUNT   USED              REACHED  AT 100 %
ocr    service ocr in us-central1  2026-11   13.00   12.50 USD  104 %  ██████████    100 %  stopped
plain  service ocr                 2026-11    0.00   12.50 USD    0 %                    -  stop
team   the project                 2026-11  137.50  250.00 USD   55 %  █████▌         50 %  tell

! [ocr] is spent: service ocr in us-central1 starts no further instances until the next month, or until
  homerun budget set ocr --amount MORE, or --no-stop
"
        );
    }

    #[test]
    fn b05_no_budgets_say_how_to_make_one() {
        assert!(table(&[]).expect("a text").contains("homerun budget set NAME --amount 250"));
    }
}
