//! Assembles the embedded guest into a flat image that the library includes.

#[path = "src/embedded/asm/mod.rs"]
mod asm;

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/embedded/asm");
    let directory = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    fs::write(Path::new(&directory).join("embedded.bin"), asm::image()?)?;
    Ok(())
}
