//! What is due on a connection, and when. Time is moved by hand.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tidegate_config::ListenerTimeouts;

use crate::listen::pulse::{Door, Order};
use crate::listen::pulses::Pulses;

const TIMEOUTS: ListenerTimeouts = ListenerTimeouts {
    handshake: Duration::from_secs(5),
    header: Duration::from_secs(10),
    body_idle: Duration::from_secs(30),
    idle: Duration::from_secs(60),
};

fn after(pulses: &Pulses, start: Instant, seconds: u64) {
    pulses.sweep(start + Duration::from_secs(seconds));
}

#[test]
fn an_idle_connection_leaves_and_a_busy_one_stays() {
    let start = Instant::now();
    let pulses = Pulses::new(start);
    let (idle, busy) = (
        pulses.add(TIMEOUTS, &Rc::default()),
        pulses.add(TIMEOUTS, &Rc::default()),
    );
    drop(idle.request());
    let request = busy.request();
    after(&pulses, start, 1);
    after(&pulses, start, 60);
    assert_eq!(
        idle.take_order(),
        None,
        "it may have come just before it was seen"
    );
    after(&pulses, start, 61);
    assert_eq!(
        (idle.take_order(), busy.take_order()),
        (Some(Order::Leave), None)
    );
    drop(request);
    after(&pulses, start, 62);
    after(&pulses, start, 121);
    assert_eq!(busy.take_order(), None, "idle only since the request ended");
    after(&pulses, start, 122);
    assert_eq!(busy.take_order(), Some(Order::Leave));
}

#[test]
fn who_came_through_a_door_that_is_closed_finishes_and_goes() {
    let start = Instant::now();
    let (pulses, door) = (Pulses::new(start), Rc::new(Door::default()));
    let (idle, busy) = (pulses.add(TIMEOUTS, &door), pulses.add(TIMEOUTS, &door));
    let other = pulses.add(TIMEOUTS, &Rc::default());
    drop(other.request());
    let _request = busy.request();
    door.close(start + Duration::from_secs(30));
    after(&pulses, start, 1);
    let both = (idle.take_order(), busy.take_order());
    assert_eq!(both, (Some(Order::Leave), Some(Order::Leave)));
    after(&pulses, start, 4);
    let both = (idle.take_order(), busy.take_order());
    assert_eq!(both, (Some(Order::Abort), None));
    let late = pulses.add(TIMEOUTS, &door);
    after(&pulses, start, 5);
    assert_eq!(
        late.take_order(),
        Some(Order::Leave),
        "accepted as it closed"
    );
    after(&pulses, start, 30);
    assert_eq!(busy.take_order(), Some(Order::Abort), "its time is over");
    assert_eq!(other.take_order(), None);
}

#[test]
fn who_was_told_to_leave_is_gone_before_long() {
    let start = Instant::now();
    let pulses = Pulses::new(start);
    let (idle, busy) = (
        pulses.add(TIMEOUTS, &Rc::default()),
        pulses.add(TIMEOUTS, &Rc::default()),
    );
    let request = busy.request();
    after(&pulses, start, 0);
    pulses.order(Order::Leave);
    assert_eq!(
        (idle.take_order(), busy.take_order()),
        (Some(Order::Leave), Some(Order::Leave))
    );
    after(&pulses, start, 3);
    assert_eq!(
        (idle.take_order(), busy.take_order()),
        (Some(Order::Abort), None)
    );
    drop(request);
    after(&pulses, start, 4);
    after(&pulses, start, 6);
    assert_eq!(busy.take_order(), Some(Order::Abort));
}

#[test]
fn a_head_that_dribbles_is_bounded_as_a_whole() {
    let start = Instant::now();
    let pulses = Pulses::new(start);
    let pulse = pulses.add(TIMEOUTS, &Rc::default());
    for second in 0..10 {
        pulse.signs().bytes.set(true);
        after(&pulses, start, second);
        assert_eq!(pulse.take_order(), None);
    }
    after(&pulses, start, 10);
    assert_eq!(pulse.take_order(), Some(Order::SlowHead));
    after(&pulses, start, 12);
    assert_eq!(pulse.take_order(), Some(Order::Abort), "who does not go");
}

#[test]
fn a_caller_that_takes_nothing_is_cut_off() {
    let start = Instant::now();
    let pulses = Pulses::new(start);
    let pulse = pulses.add(TIMEOUTS, &Rc::default());
    let _request = pulse.request();
    pulse.signs().stuck.set(true);
    after(&pulses, start, 30);
    pulse.signs().stuck.set(false);
    after(&pulses, start, 31);
    pulse.signs().stuck.set(true);
    after(&pulses, start, 32);
    after(&pulses, start, 91);
    assert_eq!(pulse.take_order(), None);
    after(&pulses, start, 92);
    assert_eq!(pulse.take_order(), Some(Order::Forget));
}

#[test]
fn a_caller_that_takes_little_by_little_is_served_to_the_end() {
    let start = Instant::now();
    let pulses = Pulses::new(start);
    let pulse = pulses.add(TIMEOUTS, &Rc::default());
    let _request = pulse.request();
    pulse.signs().stuck.set(true);
    for second in (0..600).step_by(30) {
        pulse.signs().taken.set(true);
        after(&pulses, start, second);
        assert_eq!(pulse.take_order(), None, "after {second} s");
    }
}

#[test]
fn a_caller_that_is_gone_is_not_served_for_long() {
    let start = Instant::now();
    let pulses = Pulses::new(start);
    let pulse = pulses.add(TIMEOUTS, &Rc::default());
    let _request = pulse.request();
    pulse.signs().closed.set(true);
    after(&pulses, start, 0);
    after(&pulses, start, 1);
    assert_eq!(pulse.take_order(), None);
    after(&pulses, start, 2);
    assert_eq!(pulse.take_order(), Some(Order::Abort));
}

#[test]
fn a_caller_that_will_send_no_more_gets_its_answer_to_the_end() {
    let start = Instant::now();
    let pulses = Pulses::new(start);
    let pulse = pulses.add(TIMEOUTS, &Rc::default());
    let _request = pulse.request();
    pulse.signs().closed.set(true);
    for second in 0..60 {
        pulse.signs().taken.set(true);
        after(&pulses, start, second);
        assert_eq!(pulse.take_order(), None, "after {second} s");
    }
    after(&pulses, start, 61);
    assert_eq!(pulse.take_order(), Some(Order::Abort));
}

#[test]
fn whoever_is_silent_over_http_2_is_asked_and_then_cut_off() {
    let start = Instant::now();
    let pulses = Pulses::new(start);
    let pulse = pulses.add(TIMEOUTS, &Rc::default());
    pulse.asks_whether_anybody_is_there();
    let _request = pulse.request();
    after(&pulses, start, 0);
    after(&pulses, start, 19);
    assert_eq!(pulse.take_order(), None);
    after(&pulses, start, 20);
    assert_eq!(pulse.take_order(), Some(Order::Ping));
    after(&pulses, start, 25);
    assert_eq!(pulse.take_order(), None, "once");
    pulse.heard();
    after(&pulses, start, 39);
    after(&pulses, start, 59);
    assert_eq!(pulse.take_order(), Some(Order::Ping));
    after(&pulses, start, 78);
    assert_eq!(pulse.take_order(), None);
    after(&pulses, start, 79);
    assert_eq!(pulse.take_order(), Some(Order::Abort));
}

#[test]
fn a_head_that_dribbles_holds_up_no_other_stream_for_long() {
    let start = Instant::now();
    let pulses = Pulses::new(start);
    let pulse = pulses.add(TIMEOUTS, &Rc::default());
    pulse.asks_whether_anybody_is_there();
    let _request = pulse.request();
    for second in 0..10 {
        pulse.heard();
        pulse.signs().bytes.set(true);
        after(&pulses, start, second);
        assert_eq!(pulse.take_order(), None);
    }
    after(&pulses, start, 10);
    assert_eq!(pulse.take_order(), Some(Order::SlowHead));
}

#[test]
fn whoever_waits_for_a_window_looks_with_every_sweep() {
    let start = Instant::now();
    let pulses = Pulses::new(start);
    let pulse = pulses.add(TIMEOUTS, &Rc::default());
    pulse.asks_whether_anybody_is_there();
    let mut request = Some(pulse.request());
    for second in [1, 3] {
        pulse.watches(true);
        after(&pulses, start, second);
        let busy = request.is_some();
        assert_eq!(pulse.take_order(), Some(Order::Look), "busy: {busy}");
        pulse.watches(false);
        after(&pulses, start, second + 1);
        assert_eq!(pulse.take_order(), None);
        drop(request.take());
    }
}

#[test]
fn whoever_hears_late_that_its_door_is_closed_has_as_long_to_go() {
    let start = Instant::now();
    let (pulses, door) = (Pulses::new(start), Rc::new(Door::default()));
    let pulse = pulses.add(TIMEOUTS, &door);
    door.close(start + Duration::from_secs(30));
    after(&pulses, start, 3);
    assert_eq!(pulse.take_order(), Some(Order::Leave));
    after(&pulses, start, 4);
    assert_eq!(pulse.take_order(), None, "its request may be on its way");
    after(&pulses, start, 5);
    assert_eq!(pulse.take_order(), Some(Order::Abort));
}

#[test]
fn a_look_at_windows_takes_the_place_of_no_other_order() {
    let pulses = Pulses::new(Instant::now());
    let pulse = pulses.add(TIMEOUTS, &Rc::default());
    pulse.order(Order::Ping);
    pulse.order(Order::Look);
    assert_eq!(pulse.take_order(), Some(Order::Ping));
    pulse.order(Order::Look);
    pulse.order(Order::Ping);
    assert_eq!(pulse.take_order(), Some(Order::Ping));
}
