//! The fleet tier: rdeploy against booted hosts. Each file is a theme, each test a story told with
//! [`site::Site`]. Needs root on Linux; elsewhere the tests say that they were skipped.

mod app;
mod example;
mod load;
mod run;
mod settings;
mod site;
mod workers;

mod adopts;
mod bad_releases;
mod deploys;
mod faults;
mod harness;
mod interrupted;
mod large;
mod locked;
mod operate;
mod races;
mod reverts;
mod setup;
mod supervisord;
mod survives;
mod systemd;
mod zero_loss;
