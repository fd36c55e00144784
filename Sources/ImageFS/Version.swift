/// The version that `--version` and `stats.json` tell.
public let rblockVersion = "0.1.0"
