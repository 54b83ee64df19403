//! What Tidegate promises, each file one promise, each test against the real binary with real sockets and real files.
//! `tests/run` installs the clients that `clients` needs and runs everything.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests are not on the request path"
)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    unreachable_pub,
    reason = "the harness is the public face of this program to its own files"
)]

mod harness;

/// The admin API, metrics, and the commands beside `run`.
mod admin;
/// curl, httpx, grpcio, Node and Chromium, unchanged.
mod clients;
/// What the commands for a running proxy say, and how they end.
mod commands;
/// The letter of HTTP, and the attacks on it.
mod conformance;
/// The demo keeps what it promises.
mod demo;
/// Leaving without hurting anybody.
mod drain;
/// A candidate that is worse is found after a handful of users, and one that is not is left in peace.
mod evidence;
/// Every example loads and does what it says.
mod examples;
/// A version that fails: status, counter, and no answer mixed with another.
mod faults;
/// What is sent arrives, and what is answered returns.
mod forwarding;
/// gRPC passes as it is.
mod grpc;
/// An endpoint that is ill gets no requests.
mod health;
/// The instruments of these tests measure what they say.
mod instruments;
/// Every bound has a name and a status.
mod limits;
/// What was decided outlives the process, and what was lost with it is said.
mod memory;
/// What the business sees counts as what the proxy sees does.
mod outcomes;
/// A real Prometheus is asked, and believed only where it gives one number.
mod prometheus;
/// An edit is in force within a second and costs nobody a request.
mod reload;
/// A candidate that is worse goes back by itself, and stays back.
mod rollback;
/// A request goes where the file says.
mod routing;
/// A share of the users, always the same ones.
mod splitting;
/// A plan is climbed stage by stage, through kills and restarts.
mod stages;
/// Who may steer a rollout, how, and who hears of it.
mod steering;
/// The house stays in order.
mod tidy;
/// Encrypted connections: certificates, sessions, and who callers are.
mod tls;
/// The machine runs out of something.
mod trouble;
/// A tunnel needs both sides' word.
mod upgrade;
/// Growth waits for gates, windows, people and evidence.
mod waiting;
