#![no_main]

use grsap_fuzz::allocation::Counting;
use grsap_fuzz::targets::Target;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

libfuzzer_sys::fuzz_target!(|data: &[u8]| Target::Config.run(data));
