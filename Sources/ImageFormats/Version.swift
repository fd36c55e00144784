/// The version that `--version`, `stats.json` and `rblock` tell.
public let rblockVersion = "0.1.0"
