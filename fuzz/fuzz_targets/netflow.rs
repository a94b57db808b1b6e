//! Any bytes as a record of type netflow.
#![no_main]

mod record;

libfuzzer_sys::fuzz_target!(
    init: {
        // Its binary files are for nfdump to read, which can be made to run for ever.
        // SAFETY: there is no other thread yet.
        unsafe { std::env::set_var("PATH", "") };
    },
    |data: &[u8]| record::read("netflow", data)
);
