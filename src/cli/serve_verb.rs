//! `rdeploy serve DIR`: the verb around the small web server of `serve`.

use super::Fatal;
use super::serve;
use super::serve::ServeArgs;

pub(super) async fn run(args: ServeArgs) -> Result<u8, Fatal> {
    serve::serve(args.dir, args.port, args.bind).await.map_err(Fatal::usage)?;
    Ok(0)
}
