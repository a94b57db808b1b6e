//! Any bytes as a record of type mikrotik.
#![no_main]

mod record;

libfuzzer_sys::fuzz_target!(|data: &[u8]| record::read("mikrotik", data));
