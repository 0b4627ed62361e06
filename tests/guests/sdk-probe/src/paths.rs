//! What the paths of the two guests do. The tests know them by their last segment, so that they may be mounted anywhere.

use std::future::poll_fn;
use std::sync::Mutex;
use std::task::{Poll, Waker};
use std::time::Duration;

use guesthouse_sdk::http::HeaderMap;
use guesthouse_sdk::{
    Body, Context, Error, HeaderValue, Request, RequestExt, Response, Result, StatusCode, config, fetch, respond,
    sleep, spawn, timeout,
};

pub async fn handle(request: Request) -> Result<Response> {
    let path = request.uri().path();
    match path.rsplit('/').next().unwrap_or_default() {
        "hello" => Ok(respond::text("hello\n")),
        "describe" => describe(request),
        "echo" => Ok(Response::new(request.into_body())),
        "count-bytes" => count_bytes(request).await,
        "count-down" => count_down(request),
        "refuse" => Err(respond::refuse(StatusCode::IM_A_TEAPOT, "no coffee here")),
        "fail" => {
            Err(Error::msg("the cellar is empty")).context("cannot fetch the wine").context("cannot serve dinner")
        }
        "break-off" => Ok(Response::new(break_off())),
        "panic" => panic!("the probe was asked to panic"),
        "forbidden-header" => Ok(Response::builder().header("transfer-encoding", "chunked").body(Body::from("x"))?),
        "variable" => Ok(respond::text(config::required::<String>("GREETING")?)),
        "late" => late(request).await,
        "after" => Ok(after()),
        "meet" => Ok(meet().await),
        "relay" => relay(request).await,
        "never" => timeout(Duration::from_millis(10), std::future::pending::<()>()).await.map(|()| unreachable!()),
        _ => Ok(respond::status(StatusCode::NOT_FOUND)),
    }
}

/// What has come of the head of a request.
fn describe(request: Request) -> Result<Response> {
    let header = request.headers().get("x-probe").map(HeaderValue::to_str).transpose()?.unwrap_or_default();
    let name: String = request.query("name")?.unwrap_or_default();
    Ok(respond::text(format!("{} {} x-probe={header:?} name={name:?}\n", request.method(), request.uri())))
}

/// Reads piece by piece, and keeps none.
async fn count_bytes(request: Request) -> Result<Response> {
    let mut body = request.into_body();
    let mut count = 0;
    while let Some(chunk) = body.chunk().await? {
        count += chunk.len();
    }
    Ok(respond::text(format!("{count}\n")))
}

/// `?from=`: a number each millisecond down to 1, and their count as a trailer.
fn count_down(request: Request) -> Result<Response> {
    let from = request.query::<u32>("from")?.unwrap_or(3);
    let body = Body::from_sender(move |mut sender| async move {
        for number in (1..=from).rev() {
            sender.send(format!("{number}\n")).await;
            sleep(Duration::from_millis(1)).await;
        }
        sender.send_trailers(HeaderMap::from_iter([("x-count".parse()?, HeaderValue::from(from))])).await;
        Ok(())
    });
    Ok(Response::new(body))
}

/// Half a body, and then an error.
fn break_off() -> Body {
    Body::from_sender(|mut sender| async move {
        sender.send("half of it\n").await;
        // Long enough for the server to have begun the answer.
        sleep(Duration::from_millis(50)).await;
        Err(Error::msg("the ink is dry").context("cannot write on"))
    })
}

/// `?ms=`: waits on the host's clock.
async fn late(request: Request) -> Result<Response> {
    let wait = Duration::from_millis(request.query("ms")?.unwrap_or(10));
    sleep(wait).await;
    Ok(respond::text("late\n"))
}

/// Goes on when it has answered.
fn after() -> Response {
    spawn(async {
        sleep(Duration::from_millis(50)).await;
        eprintln!("still here after the answer");
    });
    respond::text("answered\n")
}

/// Waits for another request in the same instance, and wakes the one that waits.
async fn meet() -> Response {
    static WAITING: Mutex<Option<Waker>> = Mutex::new(None);
    let mut is_waiting = false;
    poll_fn(|context| {
        let mut waiting = WAITING.lock().expect("nobody panics with it");
        match waiting.take() {
            // Nobody has taken it out: it is this request's own.
            Some(_) if is_waiting => *waiting = Some(context.waker().clone()),
            Some(other) => {
                other.wake();
                return Poll::Ready(());
            }
            None if is_waiting => return Poll::Ready(()),
            None => {
                *waiting = Some(context.waker().clone());
                is_waiting = true;
            }
        }
        Poll::Pending
    })
    .await;
    respond::text("met\n")
}

/// `?url=`: sends the request on with its body, and the answer back, both as they come.
async fn relay(request: Request) -> Result<Response> {
    let url: String = request.query("url")?.context("there is no url")?;
    let (head, body) = request.into_parts();
    let answer = fetch(Request::builder().method(head.method).uri(url).body(body)?).await?;
    let status = answer.status();
    let mut response = Response::new(answer.into_body());
    *response.status_mut() = status;
    Ok(response)
}
