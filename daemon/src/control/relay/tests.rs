use super::*;

#[test]
fn every_message_of_the_relay_survives_the_wire() {
    let worker = WorkerId(u64::MAX - 3);
    for message in [
        FromRelay::WorkerAnswered(worker),
        FromRelay::WorkerServed(worker),
        FromRelay::MaximumRequestsReached(worker),
        FromRelay::RequestTimedOut(worker),
        FromRelay::WorkerBroke(worker),
        FromRelay::WorkerDrained(worker),
        FromRelay::Drained,
        FromRelay::LeaseReturned(worker),
        FromRelay::SlotWanted(PoolId(u32::MAX)),
        FromRelay::Serving,
        FromRelay::ReplaceMe,
        FromRelay::PoolChanged(PoolId(u32::MAX)),
        FromRelay::PoolUsed {
            pool: PoolId(u32::MAX - 1),
            busy: 7,
            waiting: u32::MAX,
        },
        FromRelay::WorkerShed(worker),
        FromRelay::WorkerRecovered(worker),
        FromRelay::WorkerInactive(worker),
        FromRelay::PoolDrained(PoolId(u32::MAX)),
        FromRelay::WorkerProbed(worker),
        FromRelay::SampleWanted,
        FromRelay::StacksWanted(worker),
    ] {
        assert_eq!(FromRelay::decode(&message.encode()), Some(message));
    }
}

#[test]
fn what_is_not_ours_is_refused() {
    let mut bytes = FromRelay::Drained.encode();
    assert_eq!(FromRelay::decode(&bytes[..15]), None);
    bytes[2] = 99;
    assert_eq!(FromRelay::decode(&bytes), None);
    let mut bytes = FromRelay::Drained.encode();
    bytes[0] = 200;
    assert_eq!(FromRelay::decode(&bytes), None);
}
