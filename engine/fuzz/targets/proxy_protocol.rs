//! Headers of the PROXY protocol.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| traefikee_engine::fuzzing::proxy_protocol(data));
