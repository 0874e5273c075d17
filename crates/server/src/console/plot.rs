//! Plots, drawn here as SVG: no script, and no style but by classes (`static/plot.css`).
//!
//! Who calls brings every text, translated. A plot is a figure with its title, a legend, the drawing, which is one image
//! to a screen reader and has each bucket's values to be hovered over, and a table of the same values to be opened.

mod axis;

use std::fmt::Write as _;

use chrono::FixedOffset;
use homerun_model::Timestamp;
use maud::{Markup, html};

pub use axis::Unit;

/// Classes of series, told apart by colour and, for lines, by dashes. There are also `good`, `busy` and `bad`.
pub const SERIES: [&str; 6] = ["series-1", "series-2", "series-3", "series-4", "series-5", "series-6"];

/// The drawing's size, in units that are pixels where it is as wide as a column.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 190.0;
/// Where the values are drawn.
const LEFT: f64 = 58.0;
const RIGHT: f64 = WIDTH - 8.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = HEIGHT - 24.0;
/// The height of the bar of [`steps`].
const BAR: f64 = 26.0;

/// Texts and axes of a plot over time.
#[derive(Debug, Clone, Copy)]
pub struct Plot<'a> {
    /// Its title.
    pub title: &'a str,
    /// What it shows, in a sentence: all that a screen reader says of the drawing.
    pub summary: &'a str,
    /// What the values are.
    pub unit: Unit<'a>,
    /// When each bucket begins, the oldest first.
    pub times: &'a [Timestamp],
    /// When the last one ends.
    pub end: Timestamp,
    /// The reader's offset from UTC.
    pub offset: FixedOffset,
    /// Other texts.
    pub texts: Texts<'a>,
}

/// Texts that plots share.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a> {
    /// Stands in place of a plot that has no values.
    pub empty: &'a str,
    /// Opens the table.
    pub table: &'a str,
    /// The heading of the table's first column: time, or step.
    pub first: &'a str,
    /// Stands in the table where there is no value.
    pub none: &'a str,
}

/// One series of a plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Series<'a> {
    /// Its name.
    pub label: &'a str,
    /// Its class: see [`SERIES`].
    pub class: &'a str,
    /// A value for each bucket. Where there is none, a line has a gap, and a stack nothing.
    pub values: Vec<Option<f64>>,
}

/// One part of a bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part<'a> {
    /// Its name.
    pub label: &'a str,
    /// Its class: see [`SERIES`].
    pub class: &'a str,
    /// How long it took on average, in milliseconds.
    pub mean: f64,
    /// And at most.
    pub most: f64,
}

/// Lines: percentiles, shares, memory.
pub fn lines(plot: &Plot<'_>, series: &[Series<'_>]) -> Markup {
    let most = finite(series).reduce(f64::max);
    over_time(plot, series, (LINE, most), |axes, one, _| {
        let mut path = String::new();
        let mut before = false;
        for (index, value) in one.values.iter().enumerate() {
            let next = one.values.get(index + 1).copied().flatten().filter(|value| value.is_finite());
            match value.filter(|value| value.is_finite()) {
                Some(value) if before => {
                    push(&mut path, format_args!("L{:.1} {:.1}", axes.middle(index), axes.y(value)))
                }
                // Alone it would not be seen.
                Some(value) if next.is_none() => {
                    let (x, y) = (axes.x(index), axes.y(value));
                    push(&mut path, format_args!("M{x:.1} {y:.1}h{:.1}", (axes.x(index + 1) - x).max(1.0)));
                }
                Some(value) => push(&mut path, format_args!("M{:.1} {:.1}", axes.middle(index), axes.y(value))),
                None => {}
            }
            before = value.is_some_and(f64::is_finite);
        }
        html! { path class={ "line " (one.class) } d=(path) {} }
    })
}

/// Stacked bars: requests by class, instances by state, cost. The first series is at the bottom.
pub fn stack(plot: &Plot<'_>, series: &[Series<'_>]) -> Markup {
    let sum = |index: usize| series.iter().map(|one| amount(one, index)).sum::<f64>();
    let most = (0..plot.times.len()).map(sum).fold(0.0, f64::max);
    over_time(plot, series, (AREA, Some(most).filter(|most| *most > 0.0)), |axes, one, number| {
        let mut path = String::new();
        for index in 0..plot.times.len() {
            let value = amount(one, index);
            if value <= 0.0 {
                continue;
            }
            let below: f64 = series[..number].iter().map(|other| amount(other, index)).sum();
            let (x, y) = (axes.x(index), axes.y(below + value));
            // A little apart from the next where there is room.
            let wide = axes.x(index + 1) - x;
            let width = if wide > 4.0 { wide - 1.0 } else { wide };
            push(&mut path, format_args!("M{x:.1} {y:.1}h{width:.1}v{:.1}h-{width:.1}z", axes.y(below) - y));
        }
        html! { path class={ "area " (one.class) } d=(path) {} }
    })
}

/// A horizontal bar of the steps of a start, each as long as it takes on average. `headings` are those of the table's
/// columns besides the first: mean, longest.
pub fn steps(title: &str, summary: &str, parts: &[Part<'_>], headings: [&str; 2], texts: &Texts<'_>) -> Markup {
    let all: f64 = parts.iter().map(|part| part.mean.max(0.0)).sum();
    let drawing = (all > 0.0).then(|| {
        let mut x = 0.0;
        let mut part = |part: &Part<'_>| {
            let width = part.mean.max(0.0) / all * WIDTH;
            let begin = x;
            x += width;
            html! {
                path class={ "area " (part.class) } d={ "M" (short(begin)) " 0h" (short(width)) "v" (BAR) "h-" (short(width)) "z" } {
                    title { (part.label) ": " (Unit::Millis.write(part.mean)) }
                }
            }
        };
        html! {
            svg class="bar" viewBox={ "0 0 " (WIDTH) " " (BAR) } preserveAspectRatio="none" role="img" aria-label=(summary) {
                @for each in parts { (part(each)) }
            }
        }
    });
    let legend: Vec<(&str, String)> =
        parts.iter().map(|part| (part.class, format!("{}: {}", part.label, Unit::Millis.write(part.mean)))).collect();
    let rows = parts
        .iter()
        .map(|part| vec![part.label.to_owned(), Unit::Millis.write(part.mean), Unit::Millis.write(part.most)]);
    let (headings, rows) = ([&[texts.first], &headings[..]].concat(), rows.collect());
    figure(&Figure { title, key: AREA, legend, headings, rows, texts }, drawing)
}

/// Where things are drawn.
struct Axes<'a> {
    plot: &'a Plot<'a>,
    values: axis::Values,
}

impl Axes<'_> {
    fn time(&self, time: Timestamp) -> f64 {
        let first = self.plot.times.first().copied().unwrap_or(self.plot.end);
        let all = (self.plot.end - first).as_seconds_f64().max(1.0);
        LEFT + (time - first).as_seconds_f64() / all * (RIGHT - LEFT)
    }

    /// Where a bucket begins.
    fn x(&self, index: usize) -> f64 {
        self.time(self.plot.times.get(index).copied().unwrap_or(self.plot.end))
    }

    fn middle(&self, index: usize) -> f64 {
        f64::midpoint(self.x(index), self.x(index + 1))
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - value.clamp(0.0, self.values.top) / self.values.top * (BOTTOM - TOP)
    }

    /// Lines and texts of both axes.
    fn draw(&self) -> Markup {
        let first = self.plot.times.first().copied().unwrap_or(self.plot.end);
        html! {
            @for (value, text) in &self.values.marks {
                @let y = short(self.y(*value));
                path class="grid" d={ "M" (LEFT) " " (y) "H" (RIGHT) } {}
                text class="mark value" x=(LEFT - 6.0) y=(y) { (text) }
            }
            @if !self.values.sign.is_empty() {
                text class="mark sign" x=(LEFT - 6.0) y="9" { (self.values.sign) }
            }
            @for (time, text) in axis::times((first, self.plot.end), self.plot.offset) {
                @let x = short(self.time(time));
                path class="grid time" d={ "M" (x) " " (BOTTOM) "v4" } {}
                text class="mark time" x=(x) y=(BOTTOM + 17.0) { (text) }
            }
        }
    }
}

/// A plot over time, of values up to `most`, if there are any; `draw` makes a series of the axes, the series and its
/// number.
fn over_time(
    plot: &Plot<'_>,
    series: &[Series<'_>],
    (key, most): (Key, Option<f64>),
    draw: impl Fn(&Axes<'_>, &Series<'_>, usize) -> Markup,
) -> Markup {
    let axes = Axes { plot, values: axis::values(plot.unit, most.unwrap_or(0.0)) };
    let write = |value: Option<f64>| {
        value
            .filter(|value| value.is_finite())
            .map_or_else(|| plot.texts.none.to_owned(), |value| plot.unit.write(value))
    };
    let value = |one: &Series<'_>, index: usize| write(one.values.get(index).copied().flatten());
    let hover = |index: usize| {
        let mut text = axis::write_time(plot.times[index], plot.offset);
        for one in series {
            let _ = write!(text, "\n{}: {}", one.label, value(one, index));
        }
        text
    };
    let drawing = most.map(|_| {
        html! {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(plot.summary) {
                (axes.draw())
                @for (number, one) in series.iter().enumerate() { (draw(&axes, one, number)) }
                @for index in 0..plot.times.len() {
                    @let x = axes.x(index);
                    rect class="hover" x=(short(x)) y=(TOP) width=(short(axes.x(index + 1) - x)) height=(BOTTOM - TOP) {
                        title { (hover(index)) }
                    }
                }
            }
        }
    });
    let legend: Vec<(&str, String)> = series.iter().map(|one| (one.class, one.label.to_owned())).collect();
    let headings: Vec<&str> = std::iter::once(plot.texts.first).chain(series.iter().map(|one| one.label)).collect();
    let row = |index: usize| {
        let time = axis::write_time(plot.times[index], plot.offset);
        std::iter::once(time).chain(series.iter().map(|one| value(one, index))).collect()
    };
    let rows = (0..plot.times.len()).map(row).collect();
    figure(&Figure { title: plot.title, key, legend, headings, rows, texts: &plot.texts }, drawing)
}

/// Everything around a drawing.
struct Figure<'a> {
    title: &'a str,
    /// How the legend shows a series: as a [`LINE`] or an [`AREA`].
    key: Key,
    /// Class and name of each series.
    legend: Vec<(&'a str, String)>,
    headings: Vec<&'a str>,
    rows: Vec<Vec<String>>,
    texts: &'a Texts<'a>,
}

/// Class and path of a key.
type Key = (&'static str, &'static str);
const LINE: Key = ("line", "M1 5h16");
const AREA: Key = ("area", "M3 0h12v10h-12z");

fn figure(figure: &Figure<'_>, drawing: Option<Markup>) -> Markup {
    let Figure { title, key, legend, headings, rows, texts } = figure;
    html! {
        figure class="plot" {
            figcaption { (title) }
            @if let Some(drawing) = drawing {
                ul class="legend" {
                    @for (class, label) in legend {
                        li { svg class="key" viewBox="0 0 18 10" aria-hidden="true" { path class={ (key.0) " " (class) } d=(key.1) {} } (label) }
                    }
                }
                (drawing)
                details {
                    summary { (texts.table) }
                    div class="values" role="region" aria-label=(title) tabindex="0" {
                        table {
                            caption { (title) }
                            thead { tr { @for heading in headings { th scope="col" { (heading) } } } }
                            tbody {
                                @for row in rows {
                                    tr {
                                        @for (column, text) in row.iter().enumerate() {
                                            @if column == 0 { th scope="row" { (text) } } @else { td { (text) } }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            } @else {
                p class="empty" { (texts.empty) }
            }
        }
    }
}

/// All values that can be drawn.
fn finite<'a>(series: &'a [Series<'_>]) -> impl Iterator<Item = f64> + 'a {
    series.iter().flat_map(|one| one.values.iter().flatten().copied()).filter(|value| value.is_finite())
}

/// What a series has in a stack.
fn amount(series: &Series<'_>, index: usize) -> f64 {
    series.values.get(index).copied().flatten().filter(|value| value.is_finite()).unwrap_or(0.0).max(0.0)
}

/// A coordinate.
fn short(value: f64) -> String {
    format!("{value:.1}")
}

fn push(path: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing into a text cannot fail.
    let _ = path.write_fmt(part);
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const TEXTS: Texts<'_> = Texts { empty: "Nothing yet", table: "As a table", first: "Time", none: "–" };

    fn drawn(make: impl Fn(&Plot<'_>) -> Markup) -> String {
        let first: Timestamp = "2026-11-26T10:00:00Z".parse().expect("a time");
        let times: Vec<Timestamp> = (0..4).map(|minute| first + TimeDelta::minutes(minute)).collect();
        let plot = Plot {
            title: "Latency <p95>",
            summary: "It rose",
            unit: Unit::Millis,
            times: &times,
            end: first + TimeDelta::minutes(4),
            offset: FixedOffset::east_opt(9 * 3600).expect("an offset"),
            texts: TEXTS,
        };
        make(&plot).into_string()
    }

    fn series(values: [Option<f64>; 4]) -> Series<'static> {
        Series { label: "p\"95", class: SERIES[0], values: values.to_vec() }
    }

    /// What a strict Content-Security-Policy would refuse, or what would not be escaped.
    fn assert_plain(html: &str) {
        for refused in [" style=", "<style", "<script", " fill=", " stroke=", "<p95>", "p\"95"] {
            assert!(!html.contains(refused), "{refused}: {html}");
        }
    }

    #[test]
    fn g24_a_line_has_gaps_where_nothing_is_known() {
        let html = drawn(|plot| lines(plot, &[series([Some(10.0), Some(20.0), None, Some(40.0)])]));
        assert_plain(&html);
        // The axis goes to 40 ms; a bucket is 103.5 wide; the one that is alone is as wide as its bucket.
        assert!(html.contains(r#"d="M109.8 129.0L213.2 92.0M368.5 18.0h103.5""#), "{html}");
        assert!(html.contains("<title>2026-11-26 19:00\np&quot;95: 10 ms</title>"), "{html}");
        assert!(html.contains(r#"<svg viewBox="0 0 480 190" role="img" aria-label="It rose">"#), "{html}");
        assert!(html.contains(r#"<th scope="row">2026-11-26 19:02</th><td>–</td>"#), "{html}");
        assert!(html.contains("<caption>Latency &lt;p95&gt;</caption>"), "{html}");
    }

    #[test]
    fn g24_a_stack_stands_on_what_is_below_it_and_nothing_is_zero() {
        let two = [series([Some(10.0), None, Some(0.0), None]), series([Some(30.0), None, None, None])];
        let html = drawn(|plot| stack(plot, &two));
        assert_plain(&html);
        assert!(html.contains(r#"d="M58.0 129.0h102.5v37.0h-102.5z""#), "{html}");
        assert!(html.contains(r#"d="M58.0 18.0h102.5v111.0h-102.5z""#), "{html}");
    }

    #[test]
    fn g24_a_plot_without_values_says_so_instead() {
        for html in [
            drawn(|plot| lines(plot, &[series([None; 4])])),
            drawn(|plot| stack(plot, &[series([Some(0.0); 4])])),
            drawn(|plot| lines(&Plot { times: &[], ..*plot }, &[])),
            drawn(|_| steps("Starts", "None", &[], ["Mean", "Longest"], &TEXTS)),
        ] {
            assert!(html.contains("Nothing yet") && !html.contains("<svg"), "{html}");
        }
        // A line at zero is something.
        assert!(drawn(|plot| lines(plot, &[series([Some(0.0); 4])])).contains("<svg"));
    }

    #[test]
    fn g24_steps_are_as_long_as_they_take() {
        let part = |label, mean| Part { label, class: SERIES[1], mean, most: mean * 2.0 };
        let parts = [part("Create", 30.0), part("Start", 90.0)];
        let html = steps("Starts", "120 ms", &parts, ["Mean", "Longest"], &TEXTS).into_string();
        assert_plain(&html);
        assert!(
            html.contains(r#"d="M0.0 0h120.0v26h-120.0z""#) && html.contains(r#"d="M120.0 0h360.0v26h-360.0z""#),
            "{html}"
        );
        assert!(html.contains("Create: 30 ms") && html.contains("<td>90 ms</td><td>180 ms</td>"), "{html}");
    }

    #[test]
    fn g24_what_cannot_be_drawn_is_left_out() {
        let odd = [series([Some(f64::NAN), Some(f64::INFINITY), Some(-5.0), Some(1.0)])];
        for html in [drawn(|plot| lines(plot, &odd)), drawn(|plot| stack(plot, &odd))] {
            assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
        }
    }
}
