//! Rules and requests: the router against a plain list.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| traefikee_engine::fuzzing::routes(data));
