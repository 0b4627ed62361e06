//! Frames there and back, in any segmentation; and what is no frame.

use proptest::prelude::*;

use super::*;
use crate::guest::{Ends, Script};
use crate::request_id::RequestIds;

/// What `frames` come to at the other end, in reads of so many bytes.
fn over_the_wire<F: Frame>(frames: Vec<F>, step: usize, max: usize) -> Result<Vec<F>, BadFrame> {
    let mut output = Output::new();
    frames.into_iter().for_each(|frame| frame.put(&mut output));
    let mut bytes = BytesMut::new();
    while !output.is_empty() {
        let mut slices = [std::io::IoSlice::new(&[]); 1];
        output.io_slices(&mut slices);
        bytes.extend_from_slice(&slices[0]);
        let sent = slices[0].len();
        output.advance(sent);
    }
    heard(&bytes, step, max)
}

fn heard<F: Frame>(bytes: &[u8], step: usize, max: usize) -> Result<Vec<F>, BadFrame> {
    let mut inbox = BytesMut::new();
    let mut frames = Vec::new();
    for piece in bytes.chunks(step.max(1)) {
        inbox.extend_from_slice(piece);
        while let Some((kind, content)) = take(&mut inbox, max)? {
            frames.push(F::read(kind, content)?);
        }
    }
    Ok(frames)
}

fn asked() -> Asked {
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(b"PATCH").unwrap();
    *request.uri_mut() = "/a/b?c=%20d".parse().unwrap();
    request.headers_mut().append("cookie", HeaderValue::from_static("a=1"));
    request.headers_mut().append("cookie", HeaderValue::from_bytes(b"b=\xff\xfe").unwrap());
    let facts = CallFacts {
        scheme: Scheme::Http,
        authority: HeaderValue::from_static("example.org:80"),
        request_id: RequestIds::new(0).issue(),
        cgi: Some(Box::new(CgiFacts {
            ends: Some(Ends { client: "[::1]:1234".parse().unwrap(), server: "::1".parse().unwrap() }),
            script_name: "/a/x.php".into(),
            path_info: "/b".into(),
            script: Some(Script { root: 1, path: "/x.php".into() }),
        })),
    };
    Asked { request, has_body: true, others_wait: true, facts }
}

#[test]
fn a_request_arrives_as_it_was_sent_in_any_segmentation() {
    for step in [1, 2, 7, 1 << 20] {
        let trailers = HeaderMap::from_iter([(HeaderName::from_static("checksum"), HeaderValue::from_static("1"))]);
        let sent = vec![
            Ask::Request(Box::new(asked())),
            Ask::Data(Bytes::from_static(b"hello")),
            Ask::End(Some(trailers.clone())),
        ];
        let came = over_the_wire(sent, step, 1 << 20).unwrap();
        let [Ask::Request(request), Ask::Data(data), Ask::End(Some(end))] = &came[..] else { panic!("{came:?}") };
        let expected = asked();
        assert_eq!(request.request.method(), expected.request.method());
        assert_eq!(request.request.uri(), expected.request.uri());
        assert_eq!(request.request.version(), Version::HTTP_11);
        assert_eq!(request.request.headers(), expected.request.headers());
        assert_eq!(request.facts.cgi, expected.facts.cgi);
        assert_eq!(request.facts.authority, expected.facts.authority);
        assert!(request.has_body);
        assert_eq!(data, "hello");
        assert_eq!(end, &trailers);
    }
}

#[test]
fn an_answer_arrives_as_it_was_told() {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = StatusCode::IM_A_TEAPOT;
    parts.headers.append("set-cookie", HeaderValue::from_static("a"));
    parts.headers.append("set-cookie", HeaderValue::from_static("b"));
    let cpu = Duration::from_micros(1234);
    let told = vec![
        Told::Begun { reused: true },
        Told::Wanted,
        Told::Unwanted,
        Told::Head(parts.clone(), Some(5)),
        Told::Data(Bytes::from_static(b"hello")),
        Told::End(None),
        Told::Done { cpu, goes_on: true },
        Told::Failed { fault: Fault::CpuLimit(cpu), cpu },
    ];
    let names: Vec<_> = told.iter().map(Told::name).collect();
    let came = over_the_wire(told, 3, ANSWER_BYTES_MAX).unwrap();
    assert_eq!(came.iter().map(Told::name).collect::<Vec<_>>(), names);
    assert!(matches!(&came[0], Told::Begun { reused: true }));
    assert!(matches!(&came[3], Told::Head(head, Some(5)) if head.status == 418 && head.headers == parts.headers));
    assert!(matches!(&came[6], Told::Done { cpu: told, goes_on: true } if *told == cpu));
    assert!(matches!(&came[7], Told::Failed { fault: Fault::CpuLimit(limit), .. } if *limit == cpu));
}

#[test]
fn a_long_body_travels_in_frames_of_bounded_size() {
    let body = Bytes::from(vec![7; 3 * CHUNK_BYTES_MAX + 1]);
    let came = over_the_wire(vec![Told::Data(body.clone())], 1000, CHUNK_BYTES_MAX).unwrap();
    assert_eq!(came.len(), 4);
    let whole: Vec<u8> = came
        .into_iter()
        .flat_map(|told| match told {
            Told::Data(data) => data.to_vec(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(whole, body);
}

#[test]
fn a_fault_with_an_endless_text_is_told_with_the_beginning_of_it() {
    let fault = Fault::Trap { message: "ä".repeat(1 << 20), backtrace: "b".repeat(1 << 20) };
    let came = over_the_wire(vec![Told::Failed { fault, cpu: Duration::ZERO }], 4096, ANSWER_BYTES_MAX).unwrap();
    let [Told::Failed { fault: Fault::Trap { message, backtrace }, .. }] = &came[..] else { panic!("a trap") };
    assert!(message.starts_with('ä') && message.len() <= FAULT_BYTES_MAX);
    assert!(backtrace.starts_with('b') && backtrace.len() <= FAULT_BYTES_MAX);
}

#[test]
fn a_child_can_neither_forge_the_log_nor_blame_the_server() {
    let told = |fault| over_the_wire::<Told>(vec![Told::Failed { fault, cpu: Duration::ZERO }], 4096, ANSWER_BYTES_MAX);
    let forged = "x\n2026-11-21T10:00:00Z [1] INFO all is well\x1b[2J";
    let fault = Fault::Trap { message: forged.into(), backtrace: format!("0: a\n1: {forged}\r") };
    let came = told(fault).unwrap();
    let [Told::Failed { fault, .. }] = &came[..] else { panic!("a fault") };
    assert!(fault.to_string().lines().all(|line| !line.contains(char::is_control)), "{fault}");
    let Fault::Trap { message, .. } = fault else { panic!("a trap") };
    assert!(!message.contains('\n'));
    for fault in [Fault::PoolFull, Fault::ChildGone, Fault::NoPool("x".into()), Fault::BadHop("x".into())] {
        assert_eq!(told(fault).unwrap_err(), BadFrame::Malformed(kind::FAILED));
    }
}

#[test]
fn a_frame_longer_than_allowed_is_refused_before_it_is_there() {
    let mut announced = BytesMut::from(&[kind::DATA, 0xff, 0xff, 0xff, 0xff][..]);
    let max = ANSWER_BYTES_MAX;
    assert_eq!(take(&mut announced, max), Err(BadFrame::TooLong { length: 0xffff_ffff, max }));
}

#[test]
fn frames_that_make_no_sense_are_refused() {
    assert_eq!(heard::<Told>(&[99, 0, 0, 0, 0], 5, 10).unwrap_err(), BadFrame::Unknown(99));
    assert_eq!(heard::<Told>(&[kind::REQUEST, 0, 0, 0, 0], 5, 10).unwrap_err(), BadFrame::Unknown(kind::REQUEST));
    assert_eq!(heard::<Told>(&[kind::DATA, 0, 0, 0, 0], 5, 10).unwrap_err(), BadFrame::Malformed(kind::DATA));
    assert_eq!(heard::<Told>(&[kind::BEGUN, 1, 0, 0, 0, 7], 6, 10).unwrap_err(), BadFrame::Malformed(kind::BEGUN));
    assert_eq!(heard::<Told>(&[kind::WANTED, 1, 0, 0, 0, 7], 6, 10).unwrap_err(), BadFrame::Malformed(kind::WANTED));
    assert_eq!(heard::<Ask>(&[kind::HEAD, 0, 0, 0, 0], 5, 10).unwrap_err(), BadFrame::Unknown(kind::HEAD));
}

#[test]
fn a_head_that_could_not_be_sent_to_a_client_is_refused() {
    let head = |status: u16, name: &str, value: &[u8]| {
        let content = HeadFrame { status, length: None, fields: vec![(name, Octets::new(value))] };
        let mut output = Output::new();
        put(&mut output, kind::HEAD, &content);
        let mut slices = [std::io::IoSlice::new(&[]); 4];
        let count = output.io_slices(&mut slices);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
        heard::<Told>(&bytes, 1 << 20, ANSWER_BYTES_MAX)
    };
    assert!(head(200, "x", b"y").is_ok());
    for (status, name, value) in
        [(99, "x", &b"y"[..]), (1000, "x", b"y"), (103, "x", b"y"), (200, "x y", b"z"), (200, "x", b"a\r\nb: c")]
    {
        assert_eq!(head(status, name, value).unwrap_err(), BadFrame::Malformed(kind::HEAD), "{status} {name}");
    }
}

#[test]
fn what_a_server_child_may_say_holds_the_largest_request_that_it_accepts() {
    let limits = Limits { request_line: 8190, fields: 100, field_size: 8190 };
    let mut asked = asked();
    asked.request.headers_mut().clear();
    for index in 0..limits.fields {
        let name = HeaderName::try_from(format!("name-{index}")).unwrap();
        let value = "v".repeat(limits.field_size - name.as_str().len());
        asked.request.headers_mut().insert(name, value.try_into().unwrap());
    }
    *asked.request.uri_mut() = format!("/{}", "p".repeat(limits.request_line - 20)).parse().unwrap();
    assert!(over_the_wire(vec![Ask::Request(Box::new(asked))], 1 << 16, ask_bytes_max(&limits)).is_ok());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), step in 1usize..64) {
        let _ = heard::<Told>(&bytes, step, ANSWER_BYTES_MAX);
        let _ = heard::<Ask>(&bytes, step, ANSWER_BYTES_MAX);
    }

    #[test]
    fn any_content_of_a_known_kind_is_read_or_refused_without_a_panic(
        kind in 1u8..10,
        content in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let _ = Told::read(kind, Bytes::from(content.clone()));
        let _ = Ask::read(kind, Bytes::from(content));
    }
}
