/// One file's part of a disk that can be changed, by the same split: the layer decides where bytes lie, and its host file
/// has them. Every method may be called from any thread.
///
/// What `write`, `zero` and `discard` did is seen at once by whoever reads; a power cut may leave, of each sector, what
/// was there at the last `flush` or anything written since. Where one of them throws, any part of its range may have
/// changed, nothing else has, and the image is sound.
///
/// An extent of such a layer says where bytes lie now. What reads by it keeps what `holdForReading` answers until it has
/// read, as `Image.read` does.
public protocol WritableLayer: ImageLayer {
    /// Has the disk hold `bytes` at `start`. Throws `outOfRange` where they do not lie inside of it.
    func write(_ bytes: RawSpan, at start: GuestOffset) throws(ImageError)

    /// Has the `count` bytes at `start` read as zeros. `mayUnmap`: the host space that they had is given back where it is
    /// whole clusters; otherwise it stays theirs.
    func zero(_ count: UInt64, at start: GuestOffset, mayUnmap: Bool) throws(ImageError)

    /// Says that the `count` bytes at `start` are not needed: those that fill whole clusters read as zeros afterwards, and
    /// their space is given back. What fills subclusters only does so where that can be said of them; all else stays.
    func discard(_ count: UInt64, at start: GuestOffset) throws(ImageError)

    /// Returns when everything that was done before the call is on stable storage. Flushes at the same time share their
    /// barriers; one with nothing to do costs none. Once a barrier has failed every later flush and change fails.
    func flush() throws(ImageError)

    /// Has the file hold all that is in memory only, for times when nothing else is to be done: what ends the process then
    /// loses nothing. Does nothing, and waits for no barrier, where there is no such thing.
    func writeBack() throws(ImageError)

    /// Flushes, and leaves the file as one that was closed: nothing is set aside in it. Changes may follow. A layer that
    /// goes without it loses what was neither flushed nor written back.
    func close() throws(ImageError)
}
