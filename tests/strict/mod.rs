//! Nothing that can be read in two ways passes: each test begins with the name of its row in the catalogue of attacks,
//! and looks at what reached the version, what the caller got, and whether the connection is in step afterwards.

/// What the proxy answers by itself, and versions that are broken or hostile.
mod answers;
/// Chunked bodies.
mod chunked;
/// Where a request's body ends, in HTTP/1.
mod framing;
/// What ends at each hop, `Expect`, interim answers, bodies that must not exist.
mod hops;
/// What others got wrong.
mod lessons;
/// Request lines and header lines.
mod lines;
/// One proxy, four ways through it.
mod stand;
/// Hosts and targets, and one path.
mod targets;
/// Connections that would go on as something else.
mod tunnels;
