//! What supervision does, told as timelines.

mod lives;
mod pools;
mod reload;
mod scale;
mod templates;
mod timeline;
mod wear;
