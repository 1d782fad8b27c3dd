#![no_std]
//! The wire.
