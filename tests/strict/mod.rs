//! Nothing that can be read in two ways passes, and nobody brings it down: each test begins with the name of its row in the
//! catalogue of attacks, and looks at what reached the version, what the caller got, and whether the connection is in step
//! afterwards.

/// What the proxy answers by itself, and versions that are broken or hostile.
mod answers;
/// Chunked bodies.
mod chunked;
/// Much of what costs.
mod denial;
/// Frames of HTTP/2, one by one.
mod frames;
/// Where a request's body ends, in HTTP/1.
mod framing;
/// HTTP/2, and its way to versions that speak HTTP/1.
mod h2;
/// What ends at each hop, `Expect`, interim answers, bodies that must not exist.
mod hops;
/// What others got wrong.
mod lessons;
/// Request lines and header lines.
mod lines;
/// What connections may hold.
mod memory;
/// One proxy, four ways through it.
mod stand;
/// Hosts and targets, and one path.
mod targets;
/// Whose word counts, and what nobody hears.
mod trust;
/// Connections that would go on as something else.
mod tunnels;
