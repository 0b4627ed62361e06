//! Names of hosts and their addresses, as far as a guest may have them looked up at once.
//!
//! A look-up is a call that blocks a thread of the background runtime until the name servers have answered or were given up,
//! and nothing ends it before that: neither the end of its request nor that of the guest. So a look-up keeps its places
//! until it is over, whoever waits for it; and who finds none waits, and takes no thread meanwhile.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Look-ups that a child may have at work. Lower than the threads of `clockwork`, which serve the guests' files as well.
const OF_CHILD: usize = 8;

/// Look-ups that the guests of one module may have at work, so that two modules must fail for a third to wait.
const OF_MODULE: usize = 4;

/// Looks names up for the guests of one module.
pub(super) struct Resolver {
    of_child: Arc<Semaphore>,
    of_module: Arc<Semaphore>,
}

/// What all modules of a child share.
#[derive(Clone)]
pub(super) struct LookUps(Arc<Semaphore>);

impl LookUps {
    pub(super) fn new() -> LookUps {
        LookUps(Arc::new(Semaphore::new(OF_CHILD)))
    }

    pub(super) fn of_a_module(&self) -> Resolver {
        Resolver { of_child: Arc::clone(&self.0), of_module: Arc::new(Semaphore::new(OF_MODULE)) }
    }
}

impl Resolver {
    /// The addresses of a host, which is a name or an address. `place` is the request's among those of its call; a
    /// look-up that the request does not wait for keeps it.
    pub(super) async fn addresses(
        &self,
        host: &str,
        port: u16,
        place: impl Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let host = host.to_owned();
        self.look_up(place, move || Ok((host.as_str(), port).to_socket_addrs()?.collect())).await
    }

    async fn look_up<T, F>(&self, place: impl Send + 'static, look_up: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> io::Result<T> + Send + 'static,
    {
        // The module's first: who waits for it must not keep others from theirs.
        let of_module = Arc::clone(&self.of_module).acquire_owned().await.map_err(io::Error::other)?;
        let of_child = Arc::clone(&self.of_child).acquire_owned().await.map_err(io::Error::other)?;
        let looking = spawn_blocking(move || {
            let _until_it_is_over = (of_module, of_child, place);
            look_up()
        });
        looking.await?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::runtime::{Builder, Runtime};
    use tokio::time::timeout;

    use super::super::clockwork::BLOCKING_THREADS_MAX;
    use super::*;

    fn runtime() -> Runtime {
        Builder::new_current_thread().max_blocking_threads(BLOCKING_THREADS_MAX).enable_time().build().unwrap()
    }

    /// So many look-ups that a name server does not answer until `answer` is dropped, all of them given up.
    async fn hang(resolver: &Resolver, look_ups: usize, place: &Arc<()>) -> mpsc::Sender<()> {
        let (answer, answered) = mpsc::channel::<()>();
        let answered = Arc::new(std::sync::Mutex::new(answered));
        for _ in 0..look_ups {
            let answered = Arc::clone(&answered);
            let look_up = resolver.look_up(Arc::clone(place), move || {
                let _ = answered.lock().unwrap().recv();
                Ok(())
            });
            let given_up = timeout(Duration::from_millis(1), look_up).await;
            assert!(given_up.is_err(), "nobody has answered yet");
        }
        answer
    }

    #[test]
    fn an_address_is_not_looked_up() {
        let resolver = LookUps::new().of_a_module();
        let found = futures_util::FutureExt::now_or_never(resolver.addresses("::1", 80, ()));
        assert_eq!(found.unwrap().unwrap(), ["[::1]:80".parse().unwrap()]);
    }

    #[test]
    fn a_name_is_looked_up() {
        let resolver = LookUps::new().of_a_module();
        let found = runtime().block_on(resolver.addresses("localhost", 80, ())).unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 80), "{found:?}");
    }

    #[test]
    fn look_ups_that_were_given_up_block_neither_files_nor_other_modules() {
        runtime().block_on(async {
            let look_ups = LookUps::new();
            let (bad, good) = (look_ups.of_a_module(), look_ups.of_a_module());
            let _unanswered = hang(&bad, 3 * BLOCKING_THREADS_MAX, &Arc::new(())).await;
            let long = Duration::from_secs(10);
            timeout(long, spawn_blocking(|| ())).await.expect("a thread is free for files").unwrap();
            timeout(long, good.look_up((), || Ok(()))).await.expect("another module finds a place").unwrap();
        });
    }

    #[test]
    fn however_many_modules_have_names_looked_up_there_are_threads_for_files() {
        runtime().block_on(async {
            let look_ups = LookUps::new();
            let modules: Vec<_> = (0..BLOCKING_THREADS_MAX).map(|_| look_ups.of_a_module()).collect();
            let mut unanswered = Vec::new();
            for module in &modules {
                unanswered.push(hang(module, OF_MODULE, &Arc::new(())).await);
            }
            let file = timeout(Duration::from_secs(10), spawn_blocking(|| ())).await;
            file.expect("a thread is free for files").unwrap();
        });
    }

    #[test]
    fn a_look_up_that_was_given_up_has_its_place_until_it_is_over() {
        runtime().block_on(async {
            let resolver = LookUps::new().of_a_module();
            let place = Arc::new(());
            let unanswered = hang(&resolver, OF_MODULE + 5, &place).await;
            assert_eq!(Arc::strong_count(&place), 1 + OF_MODULE, "those that found no place have left");
            drop(unanswered);
            let next = resolver.look_up((), || Ok(()));
            timeout(Duration::from_secs(10), next).await.expect("its place is free again").unwrap();
        });
    }
}
