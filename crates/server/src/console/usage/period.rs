//! Which time is asked about.

use chrono::{Months, NaiveDate, TimeDelta};
use homerun_api::error::ApiError;
use homerun_model::Timestamp;
use homerun_model::violation::Violation;
use maud::{Markup, html};
use serde::Deserialize;

use super::super::fields::Mistakes;
use super::super::lang::Lang;
use super::super::visit::Visit;
use crate::app::usage::{first_of_month, floor, period};
use crate::store::Grain;

/// Name in the address, and text, of the times that can be chosen; the last one is given by its days.
const PERIODS: [(&str, &str); 5] = [
    ("month", "period-month"),
    ("last-month", "period-last-month"),
    ("30-days", "period-30-days"),
    ("12-months", "period-12-months"),
    ("dates", "period-dates"),
];

/// What the form says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Asked {
    period: String,
    /// The first day, as a date.
    from: String,
    /// The last day, as a date.
    to: String,
}

/// The form's field for one of the API.
pub(super) fn field(of: &str) -> Option<&'static str> {
    ["from", "to"].into_iter().find(|field| *field == of)
}

impl Asked {
    /// The first moment and the first one after; days are those of UTC.
    ///
    /// # Errors
    /// `InvalidArgument` at `from` or `to`.
    pub(super) fn time(&self, lang: Lang, now: Timestamp) -> Result<(Timestamp, Timestamp), ApiError> {
        let month = first_of_month(now);
        let months_ago = |months: u32| month.checked_sub_months(Months::new(months)).unwrap_or(month);
        match self.period.as_str() {
            "last-month" => Ok((months_ago(1), month)),
            "30-days" => Ok((floor(now, Grain::Day.seconds()) - TimeDelta::days(29), now)),
            "12-months" => Ok((months_ago(11), now)),
            "dates" => {
                let (from, to) = (day(lang, "from", &self.from)?, day(lang, "to", &self.to)?);
                period(Some(from), Some(to + TimeDelta::days(1)), now).map(|(from, to)| (from, to.min(now)))
            }
            _ => period(None, None, now),
        }
    }

    /// The same as a query.
    pub(super) fn query(&self) -> String {
        let pairs = [("period", &self.period), ("from", &self.from), ("to", &self.to)];
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty()))
            .finish()
    }

    pub(super) fn form(&self, visit: &Visit, here: &str, wrong: &Mistakes, now: Timestamp) -> Markup {
        let lang = visit.lang;
        let today = now.format("%Y-%m-%d").to_string();
        let first = first_of_month(now).format("%Y-%m-%d").to_string();
        let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
        html! {
            form .filter method="get" action=(here) {
                div .field {
                    label for="period" { (lang.t("period")) }
                    select #period name="period" {
                        @for (value, name) in PERIODS {
                            option value=(value) selected[value == self.period] { (lang.t(name)) }
                        }
                    }
                }
                (wrong.field(("from", &lang.t("period-from")), "", |says| html! {
                    input #from type="date" name="from" value=(or(&self.from, &first))
                        aria-describedby=[&says.described] aria-invalid=[says.invalid];
                }))
                (wrong.field(("to", &lang.t("period-to")), "", |says| html! {
                    input #to type="date" name="to" value=(or(&self.to, &today))
                        aria-describedby=[&says.described] aria-invalid=[says.invalid];
                }))
                button type="submit" { (lang.t("show")) }
            }
            p .hint { (lang.t("period-hint")) }
        }
    }
}

fn day(lang: Lang, field: &str, text: &str) -> Result<Timestamp, ApiError> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0));
    day.map(|day| day.and_utc()).ok_or_else(|| {
        let message = lang.with("period-no-date", [("text", text)]);
        ApiError::InvalidArgument(vec![Violation::new(field, message)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g24_the_times_to_choose_from_are_whole_days_and_months() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let now = at("2026-03-31T10:20:30Z");
        let of = |period: &str, from: &str, to: &str| {
            Asked { period: period.to_owned(), from: from.to_owned(), to: to.to_owned() }.time(Lang::En, now)
        };
        assert_eq!(of("", "", ""), Ok((at("2026-03-01T00:00:00Z"), now)));
        assert_eq!(of("last-month", "", ""), Ok((at("2026-02-01T00:00:00Z"), at("2026-03-01T00:00:00Z"))));
        assert_eq!(of("30-days", "", ""), Ok((at("2026-03-02T00:00:00Z"), now)));
        assert_eq!(of("12-months", "", ""), Ok((at("2025-04-01T00:00:00Z"), now)));
        let days = of("dates", "2026-03-01", "2026-03-02");
        assert_eq!(days, Ok((at("2026-03-01T00:00:00Z"), at("2026-03-03T00:00:00Z"))));
        for (from, to, words) in [
            ("2026-03-03", "2026-03-01", "from: must be before 'to'."),
            ("2026-03-01", "soon", "to: 'soon' is no date"),
            ("2026-04-01", "2026-04-02", "from: lies in the future"),
        ] {
            let error = of("dates", from, to).expect_err("a mistake").to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
