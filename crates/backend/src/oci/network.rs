//! Connections into instances: a socket made inside the instance's network namespace.
//!
//! The socket belongs to that namespace for its life, so an instance needs neither an address nor a port
//! of the host, and a program that listens on 127.0.0.1 only is reached too. Entering a namespace
//! changes a thread, so one thread does nothing else.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

/// A network namespace, kept alive.
pub(super) type Namespace = Arc<OwnedFd>;

/// The namespace that a process is in.
pub(super) fn of_process(pid: i32) -> io::Result<Namespace> {
    Ok(Arc::new(File::open(format!("/proc/{pid}/ns/net"))?.into()))
}

struct Order {
    namespace: Namespace,
    answer: oneshot::Sender<io::Result<OwnedFd>>,
}

/// The thread that makes sockets.
#[derive(Clone)]
pub(super) struct Sockets {
    orders: Sender<Order>,
}

impl Sockets {
    /// Starts the thread; it ends with the last `Sockets`.
    pub(super) fn start() -> io::Result<Self> {
        let (orders, taken) = channel();
        let home = File::open("/proc/thread-self/ns/net")?.into();
        std::thread::Builder::new().name("namespaces".to_owned()).spawn(move || run(&home, &taken))?;
        Ok(Self { orders })
    }

    /// Connects to a port on the namespace's loopback.
    pub(super) async fn connect(&self, namespace: Namespace, port: u16) -> io::Result<TcpStream> {
        let (answer, made) = oneshot::channel();
        let gone = || io::Error::other("the thread that makes sockets has ended");
        self.orders.send(Order { namespace, answer }).map_err(|_| gone())?;
        let socket = made.await.map_err(|_| gone())??;
        // SAFETY: the descriptor is a TCP socket that is passed on whole.
        let socket = unsafe { TcpSocket::from_raw_fd(socket.into_raw_fd()) };
        socket.set_nodelay(true)?;
        socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
    }
}

/// A thread that stayed in a namespace would keep it, and everything in it, when its instance has ended.
fn run(home: &OwnedFd, orders: &Receiver<Order>) {
    while let Ok(Order { namespace, answer }) = orders.recv() {
        let made = make(&namespace);
        drop(namespace);
        // Who asked may have gone away.
        let _ = answer.send(made);
        if let Err(error) = setns(home.as_fd(), CloneFlags::CLONE_NEWNET) {
            tracing::warn!(%error, "a thread cannot leave an instance's network");
        }
    }
}

fn make(namespace: &OwnedFd) -> io::Result<OwnedFd> {
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Inet, SockType::Stream, flags, None)?)
}
