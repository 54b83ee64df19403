//! One request's hold on an endpoint, from its choice to the end of the answer.

use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::Version;
use tidegate_config as config;
use tokio::sync::futures::OwnedNotified;

use super::{Dial, Pool, Shared};
use crate::upstream::Endpoint;
use crate::upstream::connect::{self, ConnectError};
use crate::upstream::http1::Http1;

/// One request's hold on an endpoint and, once connected, on a connection. Dropped before [`Lease::release`], an
/// HTTP/1.1 connection is closed: nobody knows what would come next on it.
#[derive(Debug)]
pub struct Lease {
    pub(super) pool: Rc<Pool>,
    pub(super) link: Link,
    pub(super) reused: bool,
}

/// Waits for [`Lease::poll_cut`].
pub(in crate::upstream) type CutNotice = Pin<Box<OwnedNotified>>;

/// What a lease goes over.
#[derive(Debug)]
pub enum Link {
    /// Nothing yet.
    None,
    /// A connection of its own.
    Http1(Box<Http1>),
    /// A stream of a shared connection.
    Http2(Rc<Shared>),
}

impl Lease {
    /// The machine.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.pool.endpoint
    }

    /// Whether the connection has served another request before: its other end may have closed it meanwhile.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Gets a connection for a request of this form: a warm one, else a new one. `fresh` refuses warm ones; `except` is no
    /// shared one to take as long as another can be had.
    ///
    /// # Errors
    /// As [`ConnectError`] says.
    pub async fn connect(
        &mut self,
        form: Version,
        fresh: bool,
        except: Option<&Weak<Shared>>,
    ) -> Result<(), ConnectError> {
        match self.pool.endpoint.protocol {
            config::Protocol::Http1 => self.connect_http1(fresh).await,
            config::Protocol::H2c | config::Protocol::H2 => self.connect_http2(except).await,
            // Boxed: every request would pay for its size.
            config::Protocol::Auto if form == Version::HTTP_2 => {
                Box::pin(self.connect_either(fresh, except)).await
            }
            config::Protocol::Auto => self.connect_http1(fresh).await,
        }
    }

    /// Gets a connection of the kind that the endpoint chooses. As long as that may be one to share, only one is made at a
    /// time.
    async fn connect_either(
        &mut self,
        fresh: bool,
        mut except: Option<&Weak<Shared>>,
    ) -> Result<(), ConnectError> {
        let pool = self.pool.clone();
        let end = pool.patience();
        loop {
            if let Some(shared) = pool.take_shared(except) {
                self.link = Link::Http2(shared);
                self.reused = true;
                return Ok(());
            }
            if !fresh && self.reuse() {
                return Ok(());
            }
            let alone = !pool.chose_http1.get();
            if alone && let Some(dial) = pool.dialing() {
                dial.ended.notified().await;
                match dial.failure.get() {
                    Some(failure) => return Err(failure),
                    None => continue,
                }
            }
            let dial = alone.then(|| Dial::begin(&pool));
            match pool.dial_either(end).await {
                Ok(Some(link)) => {
                    self.link = link;
                    self.reused = false;
                    return Ok(());
                }
                Ok(None) => {
                    // The one that has been idle for longest gives its place to a new one; there may be none but shared
                    // ones.
                    let gave = fresh && pool.idle.borrow_mut().pop_front().is_some();
                    if !gave {
                        except = None;
                    }
                }
                Err(failure) => {
                    if let Some(dial) = dial {
                        dial.0.failure.set(Some(failure));
                    }
                    return Err(failure);
                }
            }
        }
    }

    async fn connect_http1(&mut self, fresh: bool) -> Result<(), ConnectError> {
        let pool = self.pool.clone();
        if !fresh && self.reuse() {
            return Ok(());
        }
        let end = pool.patience();
        let place = loop {
            match pool
                .place_or(end, || !pool.idle.borrow().is_empty())
                .await?
            {
                Some(place) => break place,
                // The one that has been idle for longest gives its place to a new one.
                None if fresh => drop(pool.idle.borrow_mut().pop_front()),
                None if self.reuse() => return Ok(()),
                None => {}
            }
        };
        let connection = connect::http1(&place, pool.settings.get().connect).await?;
        self.link = Link::Http1(connection);
        self.reused = false;
        Ok(())
    }

    fn reuse(&mut self) -> bool {
        let Some(connection) = self.pool.take_idle() else {
            return false;
        };
        self.link = Link::Http1(connection);
        self.reused = true;
        true
    }

    async fn connect_http2(
        &mut self,
        mut except: Option<&Weak<Shared>>,
    ) -> Result<(), ConnectError> {
        let pool = self.pool.clone();
        loop {
            if let Some(shared) = pool.take_shared(except) {
                self.link = Link::Http2(shared);
                self.reused = true;
                return Ok(());
            }
            // Who comes while a connection is being made waits for it, and shares it or its failure.
            if let Some(dial) = pool.dialing() {
                dial.ended.notified().await;
                match dial.failure.get() {
                    Some(failure) => return Err(failure),
                    None => continue,
                }
            }
            let dial = Dial::begin(&pool);
            let shared = match pool.dial_http2().await {
                Ok(Some(shared)) => shared,
                Ok(None) => {
                    except = None; // no place for another
                    continue;
                }
                Err(failure) => {
                    dial.0.failure.set(Some(failure));
                    return Err(failure);
                }
            };
            self.link = Link::Http2(shared);
            self.reused = false;
            return Ok(());
        }
    }

    /// Ready once the endpoint has left the configuration and what goes on over it has had its time.
    pub async fn cut(&self) {
        let told = self.pool.cut.notified();
        if !self.pool.is_cut.get() {
            told.await;
        }
    }

    /// The same for who polls: `told` is kept between the calls, and made at the first one.
    pub(in crate::upstream) fn poll_cut(
        &self,
        told: &mut Option<CutNotice>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if self.pool.is_cut.get() {
            return Poll::Ready(());
        }
        told.get_or_insert_with(|| Box::pin(self.pool.cut.clone().notified_owned()))
            .as_mut()
            .poll(cx)
    }

    /// What it goes over.
    pub(in crate::upstream) fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    pub(in crate::upstream) fn peek(&self) -> &Link {
        &self.link
    }

    /// The connection itself, for a tunnel; the endpoint stays counted as busy until the lease is dropped.
    pub fn take_connection(&mut self) -> Option<Box<Http1>> {
        match std::mem::replace(&mut self.link, Link::None) {
            Link::Http1(connection) => Some(connection),
            other => {
                self.link = other;
                None
            }
        }
    }

    /// The answer has ended well: the connection may serve the next request.
    pub fn release(mut self) {
        if let Link::Http1(connection) = &self.link
            && connection.is_reusable()
            && let Some(connection) = self.take_connection()
        {
            self.pool.give_back(connection);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.in_flight.set(self.pool.in_flight.get() - 1);
        if let Link::Http2(shared) = &self.link {
            shared.streams.set(shared.streams.get() - 1);
            shared.since.set(Instant::now());
            self.pool.yield_up();
        }
        if self.pool.waiting.get() > 0 {
            self.pool.freed.notify_one();
        }
    }
}
