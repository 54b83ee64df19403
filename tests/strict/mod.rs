//! What the data plane promises to those who attack it, a row a test: its name begins with the row's id.

mod denial;
mod frames;
mod h2;
mod memory;
mod trust;
