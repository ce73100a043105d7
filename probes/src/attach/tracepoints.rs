//! Tracepoints, with and without the types of their arguments: a program is named like its hook; and
//! the programs that are put on functions.

use std::panic::resume_unwind;
use std::thread::{self, ScopedJoinHandle};

use aya::Ebpf;
use aya::programs::{BtfTracePoint, FExit, Program, ProgramError, RawTracePoint, UProbe};

use crate::error::Error;

pub(super) fn load_typed(
    programs: &mut Ebpf,
    name: &'static str,
    types: &aya::Btf,
) -> Result<(), Error> {
    let program: &mut BtfTracePoint = program(programs, name)?;
    program.load(name, types).map_err(refused(name))
}

pub(super) fn attach_typed(programs: &mut Ebpf, name: &'static str) -> Result<(), Error> {
    let program: &mut BtfTracePoint = program(programs, name)?;
    program.attach().map(drop).map_err(refused(name))
}

/// False where the kernel has no such function.
pub(super) fn load_function(
    programs: &mut Ebpf,
    name: &'static str,
    types: &aya::Btf,
) -> Result<bool, Error> {
    let program: &mut FExit = program(programs, name)?;
    match program.load(name, types) {
        Ok(()) => Ok(true),
        Err(ProgramError::Btf(_)) => Ok(false),
        Err(ProgramError::LoadError { io_error, .. }) if forbidden(&io_error) => {
            let reason = format!("the kernel lets no program be put on its function {name}");
            Err(Error::Unsupported { reason })
        }
        Err(error) => Err(refused(name)(error)),
    }
}

/// Not for want of permissions, which were looked at: kernels can be built so.
fn forbidden(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPERM)
}

pub(super) fn attach_function(programs: &mut Ebpf, name: &'static str) -> Result<(), Error> {
    let program: &mut FExit = program(programs, name)?;
    program.attach().map(drop).map_err(refused(name))
}

pub(super) fn load_raw(programs: &mut Ebpf, name: &'static str) -> Result<(), Error> {
    let program: &mut RawTracePoint = program(programs, name)?;
    program.load().map_err(refused(name))
}

pub(super) fn attach_raw(programs: &mut Ebpf, name: &'static str) -> Result<(), Error> {
    let program: &mut RawTracePoint = program(programs, name)?;
    program.attach(name).map(drop).map_err(refused(name))
}

/// Loads all of them at the same time.
pub(super) fn load_probes(programs: &mut Ebpf, names: &[&'static str]) -> Result<(), Error> {
    for name in names {
        let _: &mut UProbe = program(programs, name)?;
    }
    thread::scope(|scope| {
        let mut loading = Vec::new();
        for (found, program) in programs.programs_mut() {
            let Some(name) = names.iter().find(|name| **name == found) else { continue };
            let load = || load_probe(program, name);
            let thread = thread::Builder::new().spawn_scoped(scope, load);
            let failed = |source| Error::Program { program: name, source: Box::new(source) };
            loading.push(thread.map_err(failed)?);
        }
        let done = |one: ScopedJoinHandle<'_, _>| one.join().unwrap_or_else(|it| resume_unwind(it));
        loading.into_iter().try_for_each(done)
    })
}

fn load_probe(program: &mut Program, name: &'static str) -> Result<(), Error> {
    let program: &mut UProbe = program.try_into().map_err(refused(name))?;
    program.load().map_err(refused(name))
}

pub(super) fn program<'p, P>(programs: &'p mut Ebpf, name: &'static str) -> Result<&'p mut P, Error>
where
    &'p mut P: TryFrom<&'p mut Program, Error = ProgramError>,
{
    let program = programs.program_mut(name).ok_or_else(|| Error::Program {
        program: name,
        source: "it is not in the object".into(),
    })?;
    program.try_into().map_err(refused(name))
}

pub(super) fn refused(program: &'static str) -> impl FnOnce(ProgramError) -> Error {
    move |error| Error::Program { program, source: Box::new(error) }
}
