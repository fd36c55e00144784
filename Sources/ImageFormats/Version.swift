/// The version that `--version`, `stats.json` and `rblock` tell.
package let rblockVersion = "0.1.0"
