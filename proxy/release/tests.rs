//! Promises of the release engine.
