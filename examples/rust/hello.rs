//! A FastCGI program on stockade-protocol: says what it was asked, and gives the body back.

use std::{
    io::{self, Write as _},
    os::{fd::AsFd as _, unix::net::UnixListener},
};

use stockade_protocol::blocking::{Limits, Request, Response, serve};

fn main() -> io::Result<()> {
    // Stockade passes the listening socket as descriptor 0
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    for connection in listener.incoming() {
        if let Err(error) = serve(connection?, Limits::default(), answer) {
            writeln!(io::stderr(), "a connection ended: {error}")?;
        }
    }
    Ok(())
}

fn answer(request: &Request, response: &mut Response<'_>) -> io::Result<()> {
    let (method, uri) = (request.text("REQUEST_METHOD"), request.text("REQUEST_URI"));
    write!(response, "Content-Type: text/plain\r\n\r\n{method} {uri}\n")?;
    response.write_all(request.body())
}
