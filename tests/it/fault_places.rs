//! Where faults can strike is found by the shape of the agent. The fault campaign is a tier of its own, which not every
//! run has; that it finds its places is kept true in every run.

#[test]
fn every_place_of_the_fault_campaign_is_in_the_agent() {
    assert_eq!(crate::faults::places_not_found(), [""; 0]);
}
