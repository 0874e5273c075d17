//! Stand-in for nvidia-smi: shows the simulated devices of this container. It needs no C library, so it
//! runs in any image, an empty one included.
#![no_std]
#![no_main]

mod devices;
mod query;
mod sys;
mod version;

use core::arch::global_asm;
use core::ffi::{CStr, c_char};
use core::fmt::{self, Write};
use devices::Text;
use version::{CUDA_VERSION, DRIVER_VERSION};

#[cfg(target_arch = "x86_64")]
mod number {
    pub const WRITE: usize = 1;
    pub const EXIT_GROUP: usize = 231;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const WRITE: usize = 64;
    pub const EXIT_GROUP: usize = 94;
}

// The kernel starts a program with the argument count and the arguments on the stack.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call start"
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x0, sp",
    "bl start"
);

const SIMULATED: &str = "SIMULATED GPU: homerun stand-in, no CUDA work can run";
/// The table is 90 wide: 86 between a border and a space on both sides.
const RULE: &str =
    "+----------------------------------------------------------------------------------------+\n";
const HELP: &str = "\
nvidia-smi, homerun's stand-in for simulated GPUs

  nvidia-smi                                        a table of this container's GPUs
  nvidia-smi -L, --list-gpus                        one line per GPU
  nvidia-smi --query-gpu=FIELD,.. --format=csv[,noheader][,nounits]
                                                    FIELD: count driver_version index
                                                    memory.free memory.total memory.used
                                                    name utilization.gpu uuid
  nvidia-smi -h, --help                             this text
";

/// nvidia-smi's exit codes.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Exit {
    Success = 0,
    InvalidArgument = 2,
    NoDevice = 6,
}

/// Standard output (1) or standard error (2).
struct Stream(usize);

fn stdout() -> Stream {
    Stream(1)
}

fn stderr() -> Stream {
    Stream(2)
}

impl Write for Stream {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            // SAFETY: `rest` is readable for its length.
            let wrote = unsafe {
                sys::syscall(
                    number::WRITE,
                    [self.0, rest.as_ptr() as usize, rest.len(), 0],
                )
            };
            if wrote <= 0 {
                return Err(fmt::Error);
            }
            rest = &rest[wrote as usize..];
        }
        Ok(())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(core::str::from_utf8(self.bytes()).unwrap_or("?"))
    }
}

/// # Safety
/// `stack` must be the initial stack of the process.
#[unsafe(no_mangle)]
unsafe extern "C" fn start(stack: *const usize) -> ! {
    let (count, first) = unsafe { (*stack, stack.add(1).cast::<*const c_char>()) };
    let arguments = (1..count).map(|place| {
        let argument = unsafe { CStr::from_ptr(*first.add(place)) };
        argument.to_str().unwrap_or("?")
    });
    // Nobody is left to tell when standard output is closed.
    let code = run(arguments).unwrap_or(Exit::Success);
    // SAFETY: ends the process.
    unsafe { sys::syscall(number::EXIT_GROUP, [code as usize, 0, 0, 0]) };
    loop {}
}

fn run<'a>(arguments: impl Iterator<Item = &'a str>) -> Result<Exit, fmt::Error> {
    let (mut fields, mut format, mut list) = (None, None, false);
    for argument in arguments {
        match argument.split_once('=') {
            _ if argument == "-h" || argument == "--help" => {
                stdout().write_str(HELP)?;
                return Ok(Exit::Success);
            }
            _ if argument == "-L" || argument == "--list-gpus" => list = true,
            Some(("--query-gpu", value)) => fields = Some(value),
            Some(("--format", value)) => format = Some(value),
            _ => {
                writeln!(
                    stderr(),
                    "Invalid option: {argument}. Run 'nvidia-smi -h' for help."
                )?;
                return Ok(Exit::InvalidArgument);
            }
        }
    }
    if devices::all().next().is_none() {
        writeln!(stdout(), "No devices were found")?;
        return Ok(Exit::NoDevice);
    }
    if list {
        writeln!(stderr(), "{SIMULATED}")?;
        for (index, device) in devices::all().enumerate() {
            writeln!(
                stdout(),
                "GPU {index}: {} (UUID: {})",
                device.name,
                device.uuid
            )?;
        }
        return Ok(Exit::Success);
    }
    match (fields, format) {
        (None, None) => table(),
        (Some(fields), Some(format)) => query::csv(fields, format),
        _ => {
            writeln!(stderr(), "--query-gpu=FIELDS and --format=csv go together.")?;
            Ok(Exit::InvalidArgument)
        }
    }
}

fn table() -> Result<Exit, fmt::Error> {
    let (major, minor) = (CUDA_VERSION / 1000, CUDA_VERSION % 1000 / 10);
    let version = DRIVER_VERSION;
    let mut out = stdout();
    out.write_str(RULE)?;
    write!(
        out,
        "| NVIDIA-SMI {version:<14}Driver Version: {version:<14}"
    )?;
    writeln!(out, "CUDA Version: {major}.{minor:<15}|")?;
    writeln!(out, "| {SIMULATED:<86} |")?;
    out.write_str(RULE)?;
    writeln!(
        out,
        "| {:<4} {:<57} {:>16} {:>6} |",
        "GPU", "Name", "Memory-Usage", "Util"
    )?;
    out.write_str(RULE)?;
    for (index, device) in devices::all().enumerate() {
        let total = device.memory_bytes >> 20;
        write!(
            out,
            "| {index:<4} {:<57} {:>5}/{total:>7}MiB",
            device.name, 0
        )?;
        writeln!(out, " {:>6} |", "0%")?;
        writeln!(
            out,
            "|      {:<57} /dev/nvidia{:<12} |",
            device.uuid, device.minor
        )?;
    }
    out.write_str(RULE)?;
    Ok(Exit::Success)
}
