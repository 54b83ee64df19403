//! Texts that mean more: kept as written here, read by `check`, told to editors by a title and an example.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// A newtype over the text as written; its title completes "expected …" in messages.
macro_rules! leaf {
    ($(#[$doc:meta])* $name:ident, $title:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
        #[serde(transparent)]
        pub(crate) struct $name(pub(crate) String);

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "title": $title, "examples": [$example] })
            }
        }
    };
}

leaf!(
    /// `10s`.
    DurationText, "a duration with its unit (ms, s, m, h or d)", "10s"
);
leaf!(
    /// `10s` or `none`.
    DurationOrNone, "a duration with its unit (ms, s, m, h or d) or `none`", "10s"
);
leaf!(
    /// `64KiB`.
    SizeText, "a size with its unit (B, KiB, MiB, GiB, kB, MB or GB)", "64KiB"
);
leaf!(
    /// `240B` or `none`.
    SizeOrNone, "a size with its unit (B, KiB, MiB, GiB, kB, MB or GB) or `none`", "240B"
);
leaf!(
    /// `5%`.
    ShareText, "a share in percent, in steps of 0.001 %", "5%"
);
leaf!(
    /// `127.0.0.1:8080`.
    AddressText, "an IP address and a port", "127.0.0.1:8080"
);
leaf!(
    /// `10.0.0.0/8`.
    NetworkText, "a network or an IP address", "10.0.0.0/8"
);
leaf!(
    /// A path, relative to the file that names it.
    PathText, "a path", "./file"
);
leaf!(
    /// `5%` or `by_endpoints`.
    WeightText, "a share in percent, in steps of 0.001 %, or `by_endpoints`", "5%"
);
leaf!(
    /// `09:30`.
    ClockText, "a time of the day", "09:30"
);
leaf!(
    /// `2026-09-30T00:00`.
    MomentText, "a day and a time", "2026-09-30T00:00"
);
leaf!(
    /// `Europe/Berlin`.
    ZoneText, "a time zone of the IANA database", "Europe/Berlin"
);
leaf!(
    /// `http://127.0.0.1:7000/gate`.
    UrlText, "an address that begins with http:// or https://", "http://127.0.0.1:7000/gate"
);
