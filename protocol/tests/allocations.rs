//! Nothing is allocated for a record on the usual path: reading requests and responses, and writing into a buffer that has room.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use stockade_protocol::{
    application::{Application, Event, Limits},
    encode::{self, Role},
    name_value::Pairs,
    record::RecordType,
    web_server::{Answer, WebServer},
};

/// The system's allocator, counting for each thread by itself.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is left to the system's allocator; counting does not allocate
#[expect(unsafe_code, reason = "an allocator cannot be had without")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promised
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[test]
fn requests_on_a_kept_connection() {
    let mut wire = Vec::new();
    encode::begin_request(&mut wire, 1, Role::Responder, true);
    encode::params(
        &mut wire,
        1,
        b"\x0e\x03REQUEST_METHODGET\x0c\x00QUERY_STRING",
    )
    .expect("a short pair");
    encode::stream(&mut wire, RecordType::Stdin, 1, b"body");
    encode::stream_end(&mut wire, RecordType::Stdin, 1);

    let mut host = Application::new(Limits {
        params: 1024,
        requests: 4,
    });
    let mut serve = |read_size: usize| {
        let mut bytes_told = 0;
        for read in wire.chunks(read_size) {
            let mut input = read;
            while let Some(event) = host.next(&mut input).expect("good records") {
                match event {
                    Event::Params { bytes, .. } => bytes_told += Pairs::new(bytes).count(),
                    Event::StdinEnd { id } => assert!(!host.finished(id), "kept"),
                    _ => {}
                }
            }
        }
        bytes_told
    };
    serve(wire.len()); // the list of active requests gets its place
    assert_eq!(allocations(|| assert_eq!(serve(wire.len()), 2)), 0);
    assert_eq!(allocations(|| assert!(serve(1) > 0)), 0, "nor byte by byte");
}

#[test]
fn responses_read_and_written() {
    let mut wire = Vec::with_capacity(4096);
    let written = allocations(|| {
        encode::stream(
            &mut wire,
            RecordType::Stdout,
            1,
            b"Content-Type: text/plain\n\nhello",
        );
        encode::stream(&mut wire, RecordType::Stderr, 1, b"oh");
        encode::response_end(&mut wire, 1, 0);
    });
    assert_eq!(written, 0);

    let mut worker = WebServer::new();
    for read_size in [wire.len(), 1] {
        let read = allocations(|| {
            worker.begin(1);
            let mut ended = false;
            for read in wire.chunks(read_size) {
                let mut at = 0;
                while let Some(answer) = worker.next(read, &mut at).expect("good records") {
                    ended |= matches!(answer, Answer::End { .. });
                }
            }
            assert!(ended);
        });
        assert_eq!(read, 0);
    }
}

/// How often this thread allocates in `work`.
fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}
