//! What supervision does, told as timelines.

mod lives;
mod pools;
mod reload;
mod scale;
mod timeline;
mod wear;
