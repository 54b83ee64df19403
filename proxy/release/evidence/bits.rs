//! Fractions as a journal keeps them: their bits. Text would give back a neighbour of the number, and a test that goes on
//! after a restart would not be the test that was proven. What is not finite or below zero is refused: it was never written.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
    number.to_bits().serialize(to)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    checked(u64::deserialize(from)?)
}

fn checked<E: Error>(bits: u64) -> Result<f64, E> {
    let number = f64::from_bits(bits);
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err(E::custom("a number of the evidence is not one"))
    }
}

/// Many of them, of a fixed number.
pub(super) mod many {
    use super::{Deserialize, Deserializer, Error, Serializer, checked};

    pub(in super::super) fn serialize<S: Serializer, const N: usize>(
        numbers: &[f64; N],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(numbers.iter().map(|number| number.to_bits()))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        from: D,
    ) -> Result<[f64; N], D::Error> {
        let bits = Vec::<u64>::deserialize(from)?;
        let bits = <[u64; N]>::try_from(bits)
            .map_err(|bits| D::Error::invalid_length(bits.len(), &"another grid of risks"))?;
        let mut numbers = [0.0; N];
        for (number, bits) in numbers.iter_mut().zip(bits) {
            *number = checked(bits)?;
        }
        Ok(numbers)
    }
}
