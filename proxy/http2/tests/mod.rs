mod beside;
mod bounds;
mod chaos;
