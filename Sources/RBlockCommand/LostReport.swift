import BlockImage

/// The most ranges of one disk that are reported on standard error one by one.
private let lostLineLimit = 100

/// Says on standard error which ranges of the disk of `path` are lost: they `fate`, as "cannot be read", and why.
func sayLost(_ lost: [LostRange], of path: String, _ fate: String) {
    for range in lost.prefix(lostLineLimit) {
        Failure.say(
            "\(path): \(counted(range.length, "byte")) at offset \(range.start) of the disk \(fate): \(range.error)")
    }
    let more = lost.count - lostLineLimit
    if more > 0 { Failure.say("\(path): and \(counted(more, "more range")) of the disk \(fate)") }
}
