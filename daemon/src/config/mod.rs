//! Configuration: read from TOML (`file`), made into values that cannot be wrong (`resolve`, [`resolved`]).

pub mod resolved;
