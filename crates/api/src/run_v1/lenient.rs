//! What Google's servers read beside the plain form of a value (the JSON mapping of protocol buffers,
//! <https://protobuf.dev/programming-guides/json/>): `null` for an unset field, and integers in quotes.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads a list or a map; `null` is an empty one.
pub(super) fn unset_if_null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// Reads a whole number of 32 bits, in quotes or without.
pub(super) fn integer<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i32>, D::Error> {
    Option::<Integer>::deserialize(from).map(|number| number.map(|Integer(number)| number))
}

struct Integer(i32);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(IntegerVisitor)
    }
}

struct IntegerVisitor;

impl Visitor<'_> for IntegerVisitor {
    type Value = Integer;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number of 32 bits")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Integer, E> {
        i32::try_from(number).map(Integer).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Integer, E> {
        i32::try_from(number).map(Integer).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Integer, E> {
        text.parse().map(Integer).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}
