//! What the method of a request promises (RFC 9110, section 9.2).

/// A request with this method may be sent twice: RFC 9110, section 9.2.2, less TRACE, which no application gets to see. Methods are
/// compared as they are written; an empty or unknown one promises nothing.
pub fn idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE")
}

#[cfg(test)]
mod tests {
    use super::idempotent;

    #[test]
    fn only_the_five_methods_promise() {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
            assert!(idempotent(method.as_bytes()), "{method}");
        }
        for method in ["", "POST", "PATCH", "LOCK", "get", "GET ", "GE", "CONNECT"] {
            assert!(!idempotent(method.as_bytes()), "{method}");
        }
    }
}
