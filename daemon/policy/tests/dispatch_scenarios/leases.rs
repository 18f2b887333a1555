//! One relay takes over from another: slots go from the old one's machine to the new one's, and each is one machine's at a time.

use crate::timeline::run;

#[test]
fn a_leased_slot_is_given_nothing_until_it_is_returned() {
    run("0 offer 1 2 leased 2
         0 slots 2 0 0
         1 arrive a
         1 arrive b
         2 returned 1 1  -> hand a 1
         3 returned 1 1  -> hand b 1
         4 slots 2 0 0");
}

#[test]
fn more_than_was_leased_is_never_returned() {
    run("0 offer 1 1 leased 1
         0 returned 1 1
         0 returned 1 5
         0 returned 7 1
         0 slots 0 1 0
         1 arrive a      -> hand a 1
         1 arrive b
         1 slots 1 0 1");
}

#[test]
fn an_offer_of_a_worker_that_is_known_leases_nothing() {
    run("0 offer 1 2
         0 offer 1 2 leased 2
         0 slots 0 2 0");
}

#[test]
fn one_that_is_taken_over_from_gives_away_what_is_free_and_the_rest_as_it_ends() {
    run("0 offer 1 2
         0 offer 2 1
         0 arrive a      -> hand a 1
         1 taken-over    -> return 2; return 1
         1 slots 3 0 0
         2 head a
         3 end a         -> served 1; return 1");
}

#[test]
fn what_waits_with_the_old_one_has_its_freed_slots_first() {
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         1 arrive b
         2 taken-over    -> ask
         3 head a
         4 end a         -> served 1; hand b 1
         6 head b
         7 end b         -> return 1");
}

#[test]
fn what_arrives_late_or_is_replayed_asks_for_a_slot() {
    run("0 offer 1 1
         0 taken-over    -> return 1
         1 arrive a      -> ask
         2 returned 1 1  -> hand a 1
         3 fail a sent   -> replay a; hand a 1
         4 head a
         5 end a         -> served 1; return 1");
    run("0 offer 1 1
         0 arrive a      -> hand a 1
         1 taken-over
         2 gone 1
         3 fail a sent   -> replay a; ask
         4 offer 2 1 leased 1
         5 returned 2 1  -> hand a 2");
}

#[test]
fn a_slot_that_cannot_be_used_is_asked_for_again() {
    run("0 taken-over
         0 arrive a      -> ask
         1 returned 9 1  -> ask
         2 taken-over    -> ask
         3 offer 1 1 leased 1
         3 returned 1 1  -> hand a 1");
}

#[test]
fn queue_limit_is_for_those_who_could_go_elsewhere() {
    run("0 set queue-limit 0
         0 taken-over
         1 arrive a      -> ask
         1 arrive b      -> ask");
}

#[test]
fn the_new_one_serves_what_waits_with_the_old_one_first() {
    run("0 offer 1 1 leased 1
         0 arrive a
         1 wanted
         2 returned 1 1  -> return 1
         3 returned 1 1  -> hand a 1
         4 wanted
         5 head a
         6 end a         -> served 1; return 1");
}

#[test]
fn a_worker_that_is_retired_or_gone_owes_no_lease() {
    run("0 offer 1 2 leased 2
         1 retire 1      -> drained 1
         2 returned 1 2
         3 slots 0 0 0
         4 gone 1
         5 slots 0 0 0");
}

#[test]
fn requests_given_by_another_count_for_maximum_requests() {
    run("0 offer 1 1 10
         0 counted 1 9
         1 arrive a      -> hand a 1; maximum 1");
    run("0 offer 1 1 10
         0 counted 1 10  -> maximum 1");
}
