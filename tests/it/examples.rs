//! The examples in docs/examples: what they promise by being there. That the Node app deploys and is
//! replaced without a gap is the fleet tier's business.

use std::fs;
use std::path::Path;

#[test]
fn every_example_has_a_valid_deploy_toml() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
    let mut seen = 0;
    for example in fs::read_dir(examples).unwrap() {
        let dir = example.unwrap().path();
        let project = rdeploy::config::load(Some(&dir.join("deploy.toml")), &dir)
            .unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        assert!(!project.environments.is_empty(), "{} has nowhere to go", dir.display());
        seen += 1;
    }
    assert!(seen > 0, "there are no examples");
}
