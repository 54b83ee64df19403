//! A share as a journal keeps it: hundred-thousandths.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidegate_config::Share;

pub(super) fn serialize<S: Serializer>(share: &Share, to: S) -> Result<S::Ok, S::Error> {
    share.parts().serialize(to)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Share, D::Error> {
    Share::from_parts(u32::deserialize(from)?)
        .ok_or_else(|| serde::de::Error::custom("a share is more than the whole"))
}
