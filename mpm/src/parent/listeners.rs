//! The parent's listening sockets: opened for a new generation, kept for as long as one needs them, closed.

use crate::error::ServeError;
use crate::listener::Listener;
use crate::settings::{ListenAddress, Settings};

/// One for each address, of all generations that may still start children.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    open: Vec<Listener>,
}

impl Listeners {
    /// Opens what `settings` name and is not open yet; the same address keeps its socket, and what waits in it.
    ///
    /// # Errors
    /// [`ServeError::Listen`]; and nothing is open that was not before.
    pub(super) fn open_missing(&mut self, settings: &Settings) -> Result<(), ServeError> {
        let addresses = settings.pools.iter().flat_map(|pool| {
            let backlog = pool.mpm.common().listen_backlog;
            pool.listen.iter().map(move |address| (address, backlog))
        });
        let before = self.open.len();
        for (address, backlog) in addresses {
            if let Some(open) = self.open.iter().find(|open| open.configured() == address) {
                if let Err(error) = open.set_backlog(backlog) {
                    tracing::warn!("cannot change listen_backlog of {} to {backlog}: {error}", open.address());
                }
                continue;
            }
            match Listener::bind(address, backlog) {
                Ok(listener) => {
                    tracing::info!("listening on {}", listener.address());
                    self.open.push(listener);
                }
                Err(error) => {
                    self.open.drain(before..).for_each(|listener| listener.remove_file());
                    return Err(ServeError::Listen { address: address.to_string(), error });
                }
            }
        }
        Ok(())
    }

    /// Those of one pool.
    pub(super) fn among<'a>(&'a self, wanted: &'a [ListenAddress]) -> impl Iterator<Item = &'a Listener> {
        self.open.iter().filter(|open| wanted.contains(open.configured()))
    }

    /// Closes what is not wanted. Children that accept from it still do.
    pub(super) fn close_unless(&mut self, is_wanted: impl Fn(&ListenAddress) -> bool) {
        for closed in self.open.extract_if(.., |open| !is_wanted(open.configured())) {
            tracing::info!("no longer listening on {}", closed.address());
            closed.remove_file();
        }
    }

    /// Closes everything.
    pub(super) fn close(&mut self) {
        self.open.drain(..).for_each(|listener| listener.remove_file());
    }

    /// In a child: those that it accepts from. The others are closed, and no file is removed.
    pub(super) fn into_wanted(self, wanted: &[ListenAddress]) -> Vec<Listener> {
        self.open.into_iter().filter(|open| wanted.contains(open.configured())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};
    use std::path::PathBuf;

    use super::*;
    use crate::settings::{Event, Mpm, Pool};

    fn settings(listen: &[ListenAddress]) -> Settings {
        let mpm = Mpm::Event(Event::default());
        Settings { pools: vec![Pool { name: "server".to_owned(), listen: listen.to_vec(), mpm }], pid_file: None }
    }

    fn free_address() -> ListenAddress {
        let any = ListenAddress::Tcp((Ipv4Addr::LOCALHOST, 0).into());
        Listener::bind(&any, 1).unwrap().address()
    }

    fn unix_address(name: &str) -> (ListenAddress, PathBuf) {
        let path = std::env::temp_dir().join(format!("mpm-listeners-{name}-{}.sock", std::process::id()));
        (ListenAddress::Unix(path.clone()), path)
    }

    #[test]
    fn an_address_that_stays_keeps_what_waits_in_it() {
        let mut listeners = Listeners::default();
        let any = ListenAddress::Tcp((Ipv4Addr::LOCALHOST, 0).into());
        listeners.open_missing(&settings(std::slice::from_ref(&any))).unwrap();
        let ListenAddress::Tcp(bound) = listeners.open[0].address() else { panic!("not TCP") };
        let _client = TcpStream::connect(bound).unwrap();
        listeners.open_missing(&settings(&[free_address(), any.clone()])).unwrap();
        listeners.close_unless(|address| *address == any);
        let left = listeners.into_wanted(&[any]);
        assert_eq!(left.len(), 1);
        assert!(left[0].accept().unwrap().is_some());
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let taken = Listener::bind(&ListenAddress::Tcp((Ipv4Addr::LOCALHOST, 0).into()), 1).unwrap();
        let (unix, path) = unix_address("failure");
        let mut listeners = Listeners::default();
        let error = listeners.open_missing(&settings(&[unix, taken.address()])).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {}: ", taken.address())), "{error}");
        assert!(listeners.open.is_empty() && !path.exists());
    }

    #[test]
    fn a_child_leaves_the_file_of_a_unix_socket_and_the_parent_removes_it() {
        let (unix, path) = unix_address("file");
        let mut listeners = Listeners::default();
        listeners.open_missing(&settings(std::slice::from_ref(&unix))).unwrap();
        let in_child = Listeners { open: vec![] };
        assert!(in_child.into_wanted(&[]).is_empty());
        assert!(path.exists());
        listeners.close();
        assert!(!path.exists());
    }
}
