//! Amounts of money and rates, exact.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of money in billionths of the price list's currency unit. Written as a decimal number in a text, since
/// JSON's numbers would be rounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(pub i128);

/// A price for one unit, in 10^-12 of the currency unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

impl Rate {
    /// What `amount` costs of which `per` are a unit, rounded to the nearest billionth, half of one up.
    pub fn cost(self, amount: u128, per: u128) -> Money {
        let (numerator, denominator) = (amount * u128::from(self.0), per * 1000);
        Money(((numerator + denominator / 2) / denominator) as i128)
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Money {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

/// `numerator / 10^digits` as a decimal number without needless zeros.
pub(super) fn decimal(numerator: u128, digits: u32) -> String {
    let one = 10_u128.pow(digits);
    let fraction = format!("{:0width$}", numerator % one, width = digits as usize);
    match fraction.trim_end_matches('0') {
        "" => format!("{}", numerator / one),
        fraction => format!("{}.{fraction}", numerator / one),
    }
}

/// A decimal number times `10^digits`; `None` if it is no such number, negative, or finer than that.
pub(super) fn parse(text: &str, digits: u32) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() || !are_digits(whole) || !are_digits(fraction) || fraction.len() > digits as usize {
        return None;
    }
    let fraction: u128 = format!("{fraction:0<width$}", width = digits as usize).parse().ok().or(Some(0))?;
    whole.parse::<u128>().ok()?.checked_mul(10_u128.checked_pow(digits)?)?.checked_add(fraction)
}

/// The most that is taken: enough for any bill, and far from where adding overflows.
const MOST_NANOS: u128 = 1_000_000_000_000_000 * 1_000_000_000;

impl Money {
    /// Parses `12.5`; `None` if it is no amount of at least 0 with at most nine decimals, or beyond any bill.
    pub fn parse(text: &str) -> Option<Self> {
        parse(text, 9).filter(|nanos| *nanos <= MOST_NANOS).map(|nanos| Self(nanos as i128))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad_integral(self.0 >= 0, "", &decimal(self.0.unsigned_abs(), 9))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(u128::from(self.0), 12))
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const LIKE: &str = "an amount of money in quotes, with at most nine decimals, like \"12.50\"";
        deserializer.deserialize_str(Number(LIKE, Self::parse))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const LIKE: &str = "a price in quotes, with at most twelve decimals, like \"0.000018\"";
        fn rate(text: &str) -> Option<Rate> {
            parse(text, 12).and_then(|picos| u64::try_from(picos).ok()).map(Rate)
        }
        deserializer.deserialize_str(Number(LIKE, rate))
    }
}

/// Reads a number that stands in a text, and says what it should be like where it is something else.
struct Number<T>(&'static str, fn(&str) -> Option<T>);

impl<T> Visitor<'_> for Number<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b05_money_is_read_and_written_exactly() {
        for text in ["0", "1", "0.000000001", "12.5", "1000000.25"] {
            assert_eq!(Money::parse(text).map(|money| money.to_string()).as_deref(), Some(text));
        }
        for text in ["", ".5", "-1", "1e3", "0.0000000001", "1,5", "99999999999999999999", "1.2.3"] {
            assert_eq!(Money::parse(text), None, "{text}");
        }
        assert_eq!(Money(-1_500_000_000).to_string(), "-1.5");
    }

    #[test]
    fn b05_costs_are_rounded_to_the_nearest_billionth() {
        let rate = Rate(18_000_000);
        assert_eq!(rate.cost(10_000, 10_000), Money(18_000), "one vCPU-second");
        assert_eq!(Rate(500).cost(1, 1), Money(1), "half a billionth");
        assert_eq!(Rate(499).cost(1, 1), Money(0));
        assert_eq!(rate.to_string(), "0.000018");
    }
}
