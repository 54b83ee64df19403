mod beside;
mod bounds;
