//! Field blocks (RFC 7541).
//!
//! - [`integer`]: numbers in a few bits and more
//! - [`huffman`]: the code of the appendix
//! - [`table`]: what an index stands for, always and by what came before
//! - [`decoder`]: from a block to fields
//! - [`encoder`]: from an answer's head to a block, by the static table alone: what saves the caller bytes costs us work

pub mod decoder;
pub mod encoder;
pub mod huffman;
pub mod integer;
pub mod table;

pub use decoder::{Corrupt, DecodeError, Decoder, Sink};

#[cfg(test)]
mod tests;
