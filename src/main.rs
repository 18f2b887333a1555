//! The command `stockade`.
fn main() {}
