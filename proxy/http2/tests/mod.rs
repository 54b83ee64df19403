mod beside;
mod bounds;
mod chaos;
mod upkeep;
