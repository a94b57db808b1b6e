#![no_main]
#![allow(dead_code, reason = "the entries of the other targets")]

#[path = "../entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entries::strace(data));
