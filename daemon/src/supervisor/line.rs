//! The supervisor's end of the relay's control socket: what is to be said is never lost, never out of order and never
//! waited for.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use tokio::select;

use crate::control::{Channel, ChannelError, FromRelay, relay::FROM_RELAY_LEN};

/// A channel, and what waits for room in it.
#[derive(Debug)]
pub(super) struct Line {
    channel: Channel,
    waiting: VecDeque<Message>,
}

#[derive(Debug)]
struct Message {
    bytes: Vec<u8>,
    descriptors: Vec<Arc<OwnedFd>>,
}

impl Line {
    /// Nothing waits.
    pub(super) const fn new(channel: Channel) -> Self {
        Self {
            channel,
            waiting: VecDeque::new(),
        }
    }

    /// Says it now, or behind what waits. How much waits after that.
    pub(super) fn say(&mut self, bytes: Vec<u8>, descriptors: Vec<Arc<OwnedFd>>) -> usize {
        if self.waiting.is_empty() {
            let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            match self.channel.try_send(&bytes, &borrowed) {
                Err(ChannelError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                // That nobody is there is heard by `next`.
                Ok(()) | Err(_) => return 0,
            }
        }
        self.waiting.push_back(Message { bytes, descriptors });
        self.waiting.len()
    }

    /// The next message; none when it is not one. Meanwhile what waits is said. May be dropped at any time.
    pub(super) async fn next(&mut self) -> Result<Option<FromRelay>, ChannelError> {
        let mut buffer = [0; FROM_RELAY_LEN + 1];
        loop {
            let waits = !self.waiting.is_empty();
            select! {
                biased;
                received = self.channel.receive(&mut buffer) => {
                    let (length, _) = received?;
                    return Ok(FromRelay::decode(&buffer[..length]));
                }
                said = flush(&self.channel, &mut self.waiting), if waits => said?,
            }
        }
    }

    /// Says everything that waits.
    pub(super) async fn finish(&mut self) -> Result<(), ChannelError> {
        flush(&self.channel, &mut self.waiting).await
    }

    /// What waits is not said.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}

/// Whenever it is dropped, what was said waits no more.
async fn flush(channel: &Channel, waiting: &mut VecDeque<Message>) -> Result<(), ChannelError> {
    while let Some(message) = waiting.front() {
        let descriptors: Vec<_> = message.descriptors.iter().map(AsFd::as_fd).collect();
        channel.send(&message.bytes, &descriptors).await?;
        waiting.pop_front();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs::File, future::poll_fn, task::Poll};

    use stockade_policy::WorkerId;

    use super::*;

    /// A line that is full, the other end, and how many messages went into it.
    fn full_line() -> (Line, Channel, usize) {
        let (channel, theirs) = Channel::pair().unwrap();
        let mut line = Line::new(channel);
        let mut said = 0_usize;
        while line.say(said.to_string().into_bytes(), Vec::new()) == 0 {
            said += 1;
        }
        (line, Channel::new(theirs).unwrap(), said + 1)
    }

    #[tokio::test]
    async fn what_waits_is_said_in_order_with_its_descriptors() {
        let (mut line, theirs, mut said) = full_line();
        let null: Arc<OwnedFd> = Arc::new(File::open("/dev/null").unwrap().into());
        assert_eq!(line.say(b"last".to_vec(), vec![null]), 2);
        let mut expected: Vec<String> = (0..said).map(|each| each.to_string()).collect();
        expected.push("last".to_owned());
        said += 1;
        let mut heard = Vec::new();
        let mut with_it = 0;
        let mut buffer = [0; 64];
        while heard.len() < said {
            select! {
                received = theirs.receive(&mut buffer) => {
                    let (length, descriptors) = received.unwrap();
                    heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
                    with_it += descriptors.len();
                }
                message = line.next() => panic!("nothing was said: {message:?}"),
            }
        }
        assert_eq!(heard, expected);
        assert_eq!(with_it, 1);
    }

    #[tokio::test]
    async fn a_full_line_is_still_heard() {
        let (mut line, theirs, _) = full_line();
        let message = FromRelay::WorkerServed(WorkerId(3));
        theirs.send(&message.encode(), &[]).await.unwrap();
        assert_eq!(line.next().await.unwrap(), Some(message));
        let mut next = Box::pin(line.next());
        poll_fn(|context| {
            assert!(next.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn garbage_is_no_message_and_the_end_is_told() {
        let (channel, theirs) = Channel::pair().unwrap();
        let mut line = Line::new(channel);
        let theirs = Channel::new(theirs).unwrap();
        theirs.send(b"hello", &[]).await.unwrap();
        assert_eq!(line.next().await.unwrap(), None);
        theirs.send(&[0; 100], &[]).await.unwrap();
        assert!(matches!(line.next().await, Err(ChannelError::Cut)));
        drop(theirs);
        assert!(matches!(line.next().await, Err(ChannelError::Closed)));
    }
}
