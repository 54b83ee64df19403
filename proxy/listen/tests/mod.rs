//! The data plane end to end on one thread. What a fuzzer needs is built for it too.

pub(crate) mod bed;
/// Bodies, both ways at once, and who is to blame where one breaks off.
#[cfg(test)]
mod bodies;
/// Versions that speak HTTP/2 behind callers that do not.
#[cfg(test)]
mod over_h2c;
/// Callers of HTTP/2, frame by frame.
mod over_http2;
/// Which protocol a caller speaks, by its first bytes.
#[cfg(test)]
mod protocols;
/// What is due on a connection, and when.
#[cfg(test)]
mod pulse;
/// Rollouts: evidence, stable in the candidate's place, copies for the candidate.
#[cfg(test)]
mod rollouts;
/// Callers over HTTP/2 that make no room for what they asked for.
#[cfg(test)]
mod rooms;
/// One request after the other on one connection.
#[cfg(test)]
mod turns;
