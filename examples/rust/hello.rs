//! A FastCGI program on stockade-protocol: says what it was asked, and gives the body back.

use std::{
    error::Error,
    io::{self, Read as _, Write as _},
    os::{
        fd::AsFd as _,
        unix::net::{UnixListener, UnixStream},
    },
};

use stockade_protocol::{
    application::{Application, Event, Limits},
    encode::{self, ProtocolStatus},
    name_value::Pairs,
    record::RecordType,
};

fn main() -> Result<(), Box<dyn Error>> {
    // Stockade passes the listening socket as descriptor 0
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    loop {
        let (connection, _) = listener.accept()?;
        if let Err(error) = serve(connection) {
            writeln!(io::stderr(), "a connection ended: {error}")?;
        }
    }
}

fn serve(mut connection: UnixStream) -> Result<(), Box<dyn Error>> {
    let mut application = Application::new(Limits {
        params: 64 * 1024,
        requests: 1,
    });
    let (mut params, mut body, mut out, mut close) = (Vec::new(), Vec::new(), Vec::new(), false);
    let mut buffer = [0; 16 * 1024];
    while !close {
        let count = connection.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let mut input = &buffer[..count];
        while let Some(event) = application.next(&mut input)? {
            match event {
                Event::Params { bytes, .. } => params.extend_from_slice(bytes),
                Event::Stdin { bytes, .. } => body.extend_from_slice(bytes),
                Event::StdinEnd { id } => {
                    let answer = answer(&params, &body)?;
                    encode::stream(&mut out, RecordType::Stdout, id, &answer);
                    encode::response_end(&mut out, id, 0);
                    (params, body) = (Vec::new(), Vec::new());
                    close |= application.finished(id);
                }
                Event::TooManyRequests { id } => {
                    encode::end_request(&mut out, id, 0, ProtocolStatus::CantMpxConn);
                    close |= application.finished(id);
                }
                Event::GetValues { .. } => encode::get_values_result(&mut out, &[]),
                Event::UnknownType { kind } => encode::unknown_type(&mut out, kind),
                Event::Begin { .. } | Event::ParamsEnd { .. } => {}
                // a responder is asked nothing else by a web server that keeps to the protocol, and closing answers one that does not
                _ => close = true,
            }
        }
        connection.write_all(&out)?;
        out.clear();
    }
    Ok(())
}

/// The whole CGI response.
fn answer(params: &[u8], body: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let pairs = Pairs::new(params).collect::<Result<Vec<_>, _>>()?;
    let param = |wanted: &[u8]| {
        let found = pairs.iter().rfind(|(name, _)| *name == wanted);
        found.map_or(&b""[..], |(_, value)| value)
    };
    let asked = [param(b"REQUEST_METHOD"), param(b"REQUEST_URI")].join(&b' ');
    Ok([b"Content-Type: text/plain\r\n\r\n", &*asked, b"\n", body].concat())
}
