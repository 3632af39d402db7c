//! The examples in docs/examples: what they promise by being there. That the Node app and the compiled one
//! deploy and are replaced without a gap, and that the Python app deploys, is the fleet tier's business
//! (`fleet/zero_loss.rs`, `fleet/supervisord.rs`).

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use crate::support::listed::Listed;
use crate::support::project::Project;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples")
}

#[test]
fn the_site_of_files_goes_to_two_hosts_and_back() {
    let project = Project::new();
    let listed = Listed::start(&project, 2);
    let from = examples().join("static-site");
    let page = fs::read_to_string(from.join("public/index.html")).unwrap();
    for name in ["index.html", "style.css"] {
        project.write(&format!("public/{name}"), fs::read(from.join("public").join(name)).unwrap());
    }
    let config = fs::read_to_string(from.join("deploy.toml")).unwrap();
    let hosts = format!("[\"deploy@{}\", \"deploy@{}\"]", listed.name(1), listed.name(2));
    let ours = config.replace("[\"deploy@web1.example.com\", \"deploy@web2.example.com\"]", &hosts);
    assert_ne!(ours, config, "the example has other hosts");
    project.configure(&format!("{ours}\n{}", listed.ssh()));

    project.rdeploy(&["prod"]).run().ends_with(0);
    let first: Vec<_> = listed.trees().iter().map(|tree| tree.live().unwrap()).collect();
    project.write("public/index.html", page.replace("Beans", "Tea"));
    project.rdeploy(&["prod"]).run().ends_with(0);
    for tree in listed.trees() {
        assert!(tree.read("current/index.html").contains("Tea"));
        assert!(tree.read("current/style.css").contains("font"));
    }
    project.rdeploy(&["prod", "--rollback"]).run().ends_with(0);
    for (tree, first) in listed.trees().iter().zip(first) {
        assert_eq!(tree.live().unwrap(), first);
        assert_eq!(tree.read("current/index.html"), page);
        tree.is_clean();
    }
}

#[test]
fn every_example_has_a_valid_deploy_toml() {
    let examples = examples();
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
