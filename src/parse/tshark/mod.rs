//! What tshark prints: the packet list ([`list`]), chosen fields ([`fields`]) and JSON ([`json`]).

mod columns;
pub(super) mod fields;
mod guess;
pub(super) mod json;
pub(super) mod list;
mod packet;
