//! Old logs of BlueNova batteries in, CSV out.
#![forbid(unsafe_code)]
