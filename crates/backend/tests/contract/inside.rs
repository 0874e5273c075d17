//! The program inside the test containers: it tells over HTTP what it sees and can do there, and
//! misbehaves on request. Only the standard library, so that rustc alone makes a static binary of it.
//!
//! Environment: `EXIT_AT_START=CODE`, `LISTEN=ADDRESS:PORT`, `IGNORE_TERM=1`, `SAY=TEXT` (written without
//! a line feed before anything else).

use std::collections::HashMap;
use std::ffi::{c_int, c_long, c_void};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

unsafe extern "C" {
    fn signal(number: c_int, handler: usize) -> usize;
    fn syscall(number: c_long, ...) -> c_long;
    fn getuid() -> u32;
    fn getgid() -> u32;
    fn getgroups(size: c_int, list: *mut u32) -> c_int;
    fn _exit(code: c_int) -> !;
    fn write(fd: c_int, bytes: *const c_void, count: usize) -> isize;
}

const SIGTERM: c_int = 15;

extern "C" fn on_term(_: c_int) {
    let text = b"terminating\n";
    // SAFETY: both calls are allowed in a signal handler.
    unsafe {
        write(1, text.as_ptr().cast(), text.len());
        _exit(0)
    }
}

fn main() {
    let var = |name: &str| std::env::var(name).ok();
    if var("IGNORE_TERM").is_none() {
        // SAFETY: the handler does nothing that a handler may not do.
        unsafe { signal(SIGTERM, on_term as *const () as usize) };
    }
    if let Some(text) = var("SAY") {
        print!("{text}");
        let _ = io::stdout().flush();
    }
    if let Some(code) = var("EXIT_AT_START") {
        eprintln!("exiting with {code}");
        std::process::exit(code.parse().expect("EXIT_AT_START is a number"));
    }
    if var("BURN").is_some() {
        std::thread::spawn(|| loop {
            std::hint::spin_loop();
        });
    }
    let port = var("PORT").unwrap_or_else(|| "8080".to_owned());
    let listen = var("LISTEN").unwrap_or_else(|| format!("0.0.0.0:{port}"));
    let listener = TcpListener::bind(&listen).expect("listen");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || serve(stream));
    }
}

fn serve(mut stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().expect("clone")).lines();
    let Some(Ok(request)) = lines.next() else {
        return;
    };
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    let target = request.split(' ').nth(1).unwrap_or("/").to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query: HashMap<&str, &str> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .collect();
    let (status, body) = match answer(path, &query) {
        Ok(body) => ("200 OK", body),
        Err(error) => ("500 Internal Server Error", format!("{error:?} {error}")),
    };
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

fn answer(path: &str, query: &HashMap<&str, &str>) -> io::Result<String> {
    let text = |name: &str| query.get(name).copied().unwrap_or_default();
    let number = |name: &str| text(name).parse::<usize>().unwrap_or(0);
    match path {
        "/read" => fs::read(text("path")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        "/list" => {
            let names: io::Result<Vec<_>> = fs::read_dir(text("path"))?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect();
            Ok(names?.join("\n"))
        }
        "/write" => {
            fs::write(text("path"), vec![b'x'; number("bytes")]).map(|()| "written".to_owned())
        }
        "/link" => {
            std::os::unix::fs::symlink(text("to"), text("path")).map(|()| "linked".to_owned())
        }
        "/env" => Ok(std::env::vars()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect()),
        "/args" => Ok(std::env::args().collect::<Vec<_>>().join("\n")),
        "/ids" => Ok(ids()),
        "/cwd" => std::env::current_dir().map(|path| path.display().to_string()),
        "/connect" => TcpStream::connect_timeout(
            &text("to").parse().expect("an address"),
            Duration::from_millis(700),
        )
        .map(|_| "connected".to_owned()),
        "/syscall" => Ok(try_syscall(text("name"))),
        "/eat" => Ok(eat(number("bytes"))),
        "/say" => {
            let mut stream: Box<dyn Write> = if text("stream") == "stderr" {
                Box::new(io::stderr())
            } else {
                Box::new(io::stdout())
            };
            for _ in 0..number("times").max(1) {
                writeln!(stream, "{}", text("text"))?;
            }
            Ok("said".to_owned())
        }
        "/exit" => std::process::exit(number("code") as i32),
        _ => Ok("inside\n".to_owned()),
    }
}

fn ids() -> String {
    let mut groups = [0; 64];
    // SAFETY: the list has the size that is passed.
    let (uid, gid, count) = unsafe { (getuid(), getgid(), getgroups(64, groups.as_mut_ptr())) };
    format!("{uid} {gid} {:?}", &groups[..count.max(0) as usize])
}

/// What the kernel says to a call that a container has no business with: `allowed`, or the error.
fn try_syscall(name: &str) -> String {
    const NEW_USER: c_long = 0x1000_0000;
    let null: c_long = 0;
    // SAFETY: no call gets a pointer but to strings that live as long as the program.
    let result = unsafe {
        match name {
            "mount" => syscall(
                165,
                c"none".as_ptr(),
                c"/".as_ptr(),
                c"tmpfs".as_ptr(),
                null,
                null,
            ),
            "unshare" => syscall(272, NEW_USER),
            "clone" => syscall(56, NEW_USER | 17, null, null, null, null),
            "clone3" => syscall(435, null, null),
            "bpf" => syscall(321, null, null, null),
            "keyctl" => syscall(250, null, null, null, null, null),
            "perf_event_open" => syscall(298, null, null, null, null, null),
            "userfaultfd" => syscall(323, null),
            "io_uring_setup" => syscall(425, 1 as c_long, null),
            "kexec_load" => syscall(246, null, null, null, null),
            "setns" => syscall(308, null, null),
            "packet_socket" => syscall(41, 17 as c_long, 3 as c_long, null),
            "raw_socket" => syscall(41, 2 as c_long, 3 as c_long, 1 as c_long),
            "mknod" => syscall(
                133,
                c"/tmp/sda".as_ptr(),
                0o60666 as c_long,
                0x800 as c_long,
            ),
            "umount2" => syscall(166, c"/proc".as_ptr(), 2 as c_long),
            "pivot_root" => syscall(155, c"/tmp".as_ptr(), c"/tmp".as_ptr()),
            "open_tree" => syscall(428, -100 as c_long, c"/".as_ptr(), null),
            "move_mount" => syscall(429, null, null, null, null, null),
            "fsopen" => syscall(430, c"tmpfs".as_ptr(), null),
            "mount_setattr" => syscall(442, -100 as c_long, c"/".as_ptr(), null, null, null),
            "open_by_handle_at" => syscall(304, null, null, null),
            "fanotify_init" => syscall(300, null, null),
            "syslog" => syscall(103, 3 as c_long, null, null),
            "reboot" => syscall(169, null, null, null, null),
            "init_module" => syscall(175, null, null, null),
            "finit_module" => syscall(313, null, null, null),
            "delete_module" => syscall(176, null, null),
            "swapon" => syscall(167, null, null),
            "acct" => syscall(163, null),
            "settimeofday" => syscall(164, null, null),
            "clock_settime" => syscall(227, null, null),
            "adjtimex" => syscall(159, null),
            "sethostname" => syscall(170, c"other".as_ptr(), 5 as c_long),
            "iopl" => syscall(172, 3 as c_long),
            "ioperm" => syscall(173, null, null, null),
            "add_key" => syscall(248, null, null, null, null, null),
            "request_key" => syscall(249, null, null, null, null),
            "kcmp" => syscall(312, null, null, null, null, null),
            "quotactl" => syscall(179, null, null, null, null),
            // The same calls under the numbers of the x32 interface.
            "x32_unshare" => syscall(0x4000_0000 + 272, NEW_USER),
            "x32_mount" => syscall(0x4000_0000 + 165, null, null, null, null, null),
            other => return format!("unknown call {other}"),
        }
    };
    // A forked child must not answer too.
    if name == "clone" && result == 0 {
        unsafe { _exit(0) }
    }
    if result >= 0 {
        "allowed".to_owned()
    } else {
        io::Error::last_os_error().to_string()
    }
}

fn eat(bytes: usize) -> String {
    let mut memory = vec![0_u8; bytes];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    format!(
        "{} bytes eaten",
        memory
            .iter()
            .step_by(4096)
            .map(|byte| *byte as usize)
            .sum::<usize>()
            * 4096
    )
}
