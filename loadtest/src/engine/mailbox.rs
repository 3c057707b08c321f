//! Commands for a thread that waits in epoll.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The sending side: a message wakes the thread.
#[derive(Debug)]
pub struct Mailbox<T> {
    sender: Sender<T>,
    bell: UnixStream,
}

/// The receiving side.
pub struct Inbox<T> {
    receiver: Receiver<T>,
    bell: UnixStream,
}

/// A pair of both sides.
pub fn mailbox<T>() -> io::Result<(Mailbox<T>, Inbox<T>)> {
    let (sender, receiver) = channel();
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    Ok((
        Mailbox { sender, bell: ours },
        Inbox {
            receiver,
            bell: theirs,
        },
    ))
}

impl<T> Mailbox<T> {
    /// Sends a message. A thread that has ended takes none.
    pub fn send(&self, message: T) {
        if self.sender.send(message).is_ok() {
            // A full pipe means the bell has rung already.
            let _ = io::Write::write(&mut &self.bell, &[1]);
        }
    }
}

impl<T> Inbox<T> {
    /// The next message, if one waits.
    pub fn take(&self) -> Option<T> {
        self.receiver.try_recv().ok()
    }

    /// Stops the bell.
    pub fn quiet(&self) {
        let mut sink = [0; 256];
        while matches!(io::Read::read(&mut &self.bell, &mut sink), Ok(n) if n == sink.len()) {}
    }
}

impl<T> AsRawFd for Inbox<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.bell.as_raw_fd()
    }
}
