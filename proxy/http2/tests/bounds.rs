//! What a connection may hold.

use crate::http2::flow::CONNECTION_WINDOW;
use crate::http2::settings::Bounds;
use crate::http2::wire::most_held;

const MIB: usize = 1024 * 1024;

#[test]
fn ds_10_a_connection_with_the_default_bounds_holds_no_more_than_is_said() {
    let default = Bounds {
        streams: 100,
        bytes: 32 * 1024,
        lines: 100,
    };
    let held = most_held(default);
    assert!(held < 40 * MIB, "{held}");
    let one = Bounds {
        streams: 1,
        ..default
    };
    assert!(most_held(one) < 4 * MIB + CONNECTION_WINDOW as usize);
}
