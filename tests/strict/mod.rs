//! Nothing that can be read in two ways passes: each test begins with the name of its row in the catalogue of attacks,
//! and looks at what reached the version, what the caller got, and whether the connection is in step afterwards.

