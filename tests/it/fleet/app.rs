//! Owns the web app that is deployed: the sample of docs/examples/node-pm2, in the versions and with
//! the defects that a test asks for.

use std::fs;
use std::path::Path;

const SERVER: &str = include_str!("../../../docs/examples/node-pm2/server.js");
const PACKAGE: &str = include_str!("../../../docs/examples/node-pm2/package.json");
const ECOSYSTEM: &str = include_str!("../../../docs/examples/node-pm2/ecosystem.config.js");

/// A version of the sample app.
pub(crate) struct App {
    version: String,
    /// None when it is missing.
    server: Option<String>,
}

impl App {
    /// The sample as it stands, calling itself `version`.
    pub(crate) fn version(version: &str) -> Self {
        Self { version: version.to_owned(), server: Some(SERVER.to_owned()) }
    }

    /// Writes a line to its log when it is started.
    pub(crate) fn says(self, line: &str) -> Self {
        self.preceded_by(&format!("console.log('{line}');"))
    }

    /// Throws while it is loaded.
    pub(crate) fn throws_at_start(self) -> Self {
        self.preceded_by("throw new Error('cannot reach the database');")
    }

    /// Serves for a moment, then dies.
    pub(crate) fn dies_soon(self) -> Self {
        self.dies_after(700)
    }

    /// Serves for that many milliseconds, then dies.
    pub(crate) fn dies_after(self, milliseconds: u32) -> Self {
        self.preceded_by(&format!(
            "setTimeout(() => {{ throw new Error('out of beans'); }}, {milliseconds});"
        ))
    }

    /// Ends as if all were well, before it has listened.
    pub(crate) fn exits_well(mut self) -> Self {
        let end = "console.log('nothing to do'); setTimeout(() => process.exit(0), 100);";
        self.replace("server.listen(port);", end);
        self
    }

    /// Stays up and never listens.
    pub(crate) fn never_listens(mut self) -> Self {
        self.replace(
            "server.listen(port);",
            "console.log('waiting for beans'); setInterval(() => {}, 1000);",
        );
        self
    }

    /// Listens where nobody asks.
    pub(crate) fn listens_elsewhere(mut self) -> Self {
        self.replace(
            "server.listen(port);",
            "console.log('open round the corner'); server.listen(port + 2000);",
        );
        self
    }

    /// Was packed without its script.
    pub(crate) fn without_script(mut self) -> Self {
        self.server = None;
        self
    }

    /// Listens only after that many milliseconds.
    pub(crate) fn starts_slowly(mut self, milliseconds: u32) -> Self {
        self.replace(
            "server.listen(port);",
            &format!("setTimeout(() => server.listen(port), {milliseconds});"),
        );
        self
    }

    /// Answers every question with that status.
    pub(crate) fn answers(mut self, status: u16) -> Self {
        let line = "  response.setHeader('Content-Type', 'application/json');\n";
        let words = "console.error('out of', 'beans');";
        self.replace(line, &format!("  response.statusCode = {status};\n  {words}\n{line}"));
        self
    }

    /// Writes it into a directory, over what was there of another version.
    pub(crate) fn write(&self, dir: &Path) {
        let package = PACKAGE.replace("\"1.0.0\"", &format!("\"{}\"", self.version));
        assert_ne!(package, PACKAGE, "the sample's package.json has no version to replace");
        match &self.server {
            Some(server) => fs::write(dir.join("server.js"), server).unwrap(),
            None => fs::remove_file(dir.join("server.js")).unwrap(),
        }
        fs::write(dir.join("package.json"), package).unwrap();
        fs::write(dir.join("ecosystem.config.js"), ECOSYSTEM).unwrap();
    }

    /// The sample's files as a shell script that writes them into the working directory.
    pub(crate) fn as_script(&self) -> String {
        let dir = tempfile::tempdir().unwrap();
        self.write(dir.path());
        ["server.js", "package.json", "ecosystem.config.js"]
            .map(|name| {
                let text = fs::read_to_string(dir.path().join(name)).unwrap();
                format!("cat >{name} <<'END OF FILE'\n{text}END OF FILE\n")
            })
            .concat()
    }

    fn preceded_by(mut self, line: &str) -> Self {
        self.server = self.server.map(|server| format!("{line}\n{server}"));
        self
    }

    fn replace(&mut self, part: &str, by: &str) {
        let server = self.server.as_mut().unwrap();
        assert!(server.contains(part), "the sample's server.js has no {part}");
        *server = server.replace(part, by);
    }
}
