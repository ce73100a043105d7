//! `icecore`: parse, run the command, say how it went.

mod cli;
mod commands;
mod compose;
mod error;
mod health;
mod process;
mod program;
mod role;
mod settings;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    process::use_small_pages();
    process::return_memory_soon();
    let matches = cli::matches();
    match commands::run(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            commands::tell(&failure);
            failure.exit_code()
        }
    }
}
