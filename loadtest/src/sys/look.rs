//! Sockets that are looked at from time to time, and never wake anybody.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use super::check;

/// Descriptors and their tokens.
///
/// While nobody waits on a socket, whoever sends to it over loopback has nobody to wake.
#[derive(Default)]
pub struct Looked {
    fds: Vec<libc::pollfd>,
    tokens: Vec<u64>,
}

impl Looked {
    /// Looks at `fd` from now on. It must be taken out before it is closed.
    pub fn add(&mut self, fd: &impl AsRawFd, token: u64) {
        self.fds.push(libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        });
        self.tokens.push(token);
    }

    /// Looks at `fd` no more.
    pub fn forget(&mut self, fd: RawFd) {
        if let Some(at) = self.fds.iter().position(|looked| looked.fd == fd) {
            self.fds.swap_remove(at);
            self.tokens.swap_remove(at);
        }
    }

    /// Appends the tokens of those that can be read, or have an error to be read.
    pub fn look(&mut self, ready: &mut Vec<u64>) -> io::Result<()> {
        // A time-out of zero is what keeps the kernel from queueing this thread on each socket.
        // SAFETY: the list is live for the call and as long as stated.
        let n =
            check(unsafe { libc::poll(self.fds.as_mut_ptr(), self.fds.len() as libc::nfds_t, 0) })?;
        if n > 0 {
            let looked = self.fds.iter().zip(&self.tokens);
            ready.extend(
                looked
                    .filter(|(fd, _)| fd.revents != 0)
                    .map(|(_, token)| token),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_look_tells_who_has_something_to_read() {
        let sockets: Vec<UdpSocket> = (0..3)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        let mut looked = Looked::default();
        for (socket, token) in sockets.iter().zip(70..) {
            looked.add(socket, token);
        }
        let look = |looked: &mut Looked| {
            let mut ready = Vec::new();
            looked.look(&mut ready).unwrap();
            ready
        };
        assert_eq!(look(&mut looked), [0u64; 0]);
        for to in [&sockets[0], &sockets[2]] {
            sockets[1].send_to(b"x", to.local_addr().unwrap()).unwrap();
        }
        assert_eq!(look(&mut looked), [70, 72]);
        looked.forget(sockets[0].as_raw_fd());
        assert_eq!(look(&mut looked), [72]);
        sockets[2].recv(&mut [0; 10]).unwrap();
        assert_eq!(look(&mut looked), [0u64; 0]);
    }
}
