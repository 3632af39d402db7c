//! `rdeploy serve DIR`: the verb around the small web server of `serve`.

use super::Fatal;
use super::serve::ServeArgs;

pub(super) async fn run(args: ServeArgs) -> Result<u8, Fatal> {
    args.run().await.map_err(Fatal::usage)?;
    Ok(0)
}
