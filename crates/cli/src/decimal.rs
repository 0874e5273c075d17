//! Decimal numbers as the API has them in texts. Binary fractions would round money.

use std::fmt;
use std::iter::Sum;

use crate::client::CliError;

/// Decimals that are kept: prices have that many at most.
pub(crate) const SCALE: usize = 12;
/// Digits that are kept in all, the most that an `i128` can hold whatever they are.
pub(crate) const PRECISION: usize = 38;

/// A decimal number in 10^-12.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Decimal(i128);

impl Decimal {
    /// Reads `-12.5`; `None` if it is no such number, finer than 10^-12 or longer than 38 digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fraction = fraction.trim_end_matches('0');
        let right = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !right(whole) || !right(fraction) || fraction.len() > SCALE {
            return None;
        }
        let size: i128 = format!("{whole}{fraction:0<SCALE$}").parse().ok()?;
        (size < 10_i128.pow(PRECISION as u32)).then_some(Self(if negative { -size } else { size }))
    }

    /// Reads a number of an answer.
    pub(crate) fn of(text: &str) -> Result<Self, CliError> {
        Self::parse(text).ok_or_else(|| CliError::Number(text.to_owned()))
    }

    /// In 10^-12, the most significant byte first.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Divided, rounded towards zero.
    pub(crate) fn divided(self, by: u32) -> Self {
        Self(self.0 / i128::from(by))
    }

    /// Which part of `whole` this is, in thousandths, rounded down; `None` if the whole is nothing.
    pub(crate) fn thousandths_of(self, whole: Self) -> Option<i128> {
        if whole.0 <= 0 { None } else { Some(self.0.checked_mul(1000)?.div_euclid(whole.0)) }
    }

    /// With so many decimals, half of one rounded away from zero.
    pub(crate) fn rounded(self, decimals: usize) -> String {
        let unit = 10_u128.pow(SCALE.saturating_sub(decimals) as u32);
        let (kept, one) = ((self.0.unsigned_abs() + unit / 2) / unit, 10_u128.pow(decimals as u32));
        let sign = if self.0 < 0 && kept > 0 { "-" } else { "" };
        match decimals {
            0 => format!("{sign}{kept}"),
            _ => format!("{sign}{}.{:0decimals$}", kept / one, kept % one),
        }
    }

    /// With so many decimals, for people: something never looks like nothing.
    pub(crate) fn shown(self, decimals: usize) -> String {
        let text = self.rounded(decimals);
        if self == Self::default() || text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) {
            return text;
        }
        format!("{}0.{:0>decimals$}", if self.0 < 0 { ">-" } else { "<" }, 1)
    }
}

impl std::ops::Sub for Decimal {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Decimal {
    fn sum<I: Iterator<Item = Self>>(numbers: I) -> Self {
        Self(numbers.fold(0, |sum, number| sum.saturating_add(number.0)))
    }
}

impl fmt::Display for Decimal {
    /// Exactly, without needless zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.rounded(SCALE);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Amounts of money for people: all of a column with the same number of decimals, at least two and so many that two
/// digits of the smallest can be seen, but no more than six.
pub(crate) struct Money(usize);

impl Money {
    const FEWEST: usize = 2;
    const MOST: usize = 6;

    /// How the amounts of a column are shown.
    pub(crate) fn like(amounts: impl Iterator<Item = Decimal>) -> Self {
        let smallest = amounts.map(|amount| amount.0.unsigned_abs()).filter(|size| *size > 0).min();
        let decimals = smallest.map_or(Self::FEWEST, |size| (SCALE + 1).saturating_sub(size.ilog10() as usize));
        Self(decimals.clamp(Self::FEWEST, Self::MOST))
    }

    /// An amount.
    pub(crate) fn show(&self, amount: Decimal) -> String {
        amount.shown(self.0)
    }
}

/// A bar of block characters, `width` long for the whole, to an eighth of a character. Something is never no bar.
pub(crate) fn bar(part: Decimal, whole: Decimal, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if part.0 <= 0 || whole.0 <= 0 {
        return String::new();
    }
    let most = width as u128 * 8;
    let scale = whole.0.unsigned_abs() / most;
    // The whole is far more than eighths of it where it matters; a tiny one fills the bar.
    let eighths = part.0.unsigned_abs().checked_div(scale).unwrap_or(most).clamp(1, most) as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).expect(text)
    }

    #[test]
    fn b05_numbers_are_read_and_written_exactly() {
        for text in ["0", "1", "-12.5", "0.000000000001", "99999999999999999999999999.999999999999"] {
            assert_eq!(decimal(text).to_string(), text);
        }
        assert_eq!(decimal("3600.0").to_string(), "3600");
        for text in ["", "-", ".5", "1e3", "1,5", "+1", "0.0000000000001", "100000000000000000000000000", "1.-5"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn b05_people_see_rounded_amounts_and_never_nothing_for_something() {
        let shown = |texts: &[&str]| {
            let like = Money::like(texts.iter().map(|text| decimal(text)));
            texts.iter().map(|text| like.show(decimal(text))).collect::<Vec<_>>()
        };
        assert_eq!(shown(&["12.345", "100", "0.999"]), ["12.35", "100.00", "1.00"]);
        assert_eq!(shown(&["12.345", "0.00256"]), ["12.3450", "0.0026"]);
        assert_eq!(shown(&["1", "0.0000004", "0"]), ["1.000000", "<0.000001", "0.000000"]);
        assert_eq!(shown(&["-0.024", "-0.0000001"]), ["-0.024000", ">-0.000001"]);
        assert_eq!(shown(&["0"]), ["0.00"]);
    }

    #[test]
    fn b05_bars_are_drawn_to_scale() {
        let drawn = |part: &str, whole: &str| bar(decimal(part), decimal(whole), 4);
        assert_eq!(drawn("8", "8"), "████");
        assert_eq!(drawn("4", "8"), "██");
        assert_eq!(drawn("3", "8"), "█▌");
        assert_eq!(drawn("0.0001", "8"), "▏");
        assert_eq!(drawn("80", "8"), "████");
        assert_eq!(drawn("0", "8"), "");
        assert_eq!(drawn("0.000000000001", "0.000000000001"), "████");
    }

    #[test]
    fn b05_parts_are_told_in_thousandths() {
        assert_eq!(decimal("1").thousandths_of(decimal("3")), Some(333));
        assert_eq!(decimal("-1").thousandths_of(decimal("3")), Some(-334));
        assert_eq!(decimal("1").thousandths_of(decimal("0")), None);
    }
}
