//! What tshark prints: the packet list ([`list`]), chosen fields ([`fields`]) and JSON ([`json`]).

pub(super) mod fields;
pub(super) mod json;
pub(super) mod list;
mod packet;
